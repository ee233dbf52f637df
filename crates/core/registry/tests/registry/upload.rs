//! Sending content: what a registry that takes it sees, and registries that do not.

use super::stub::{Answer, Request, Stub};
use oci::{Digest, Reference};
use registry::{Body, Client, Config, Error, Kind, Patience, Repository, Wish};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn writable(stub: &Stub) -> Repository {
    let reference = Reference::parse(&format!("{}/a/b:1", stub.host)).unwrap();
    Client::new(Config::default()).writable(&reference, None)
}

/// The same, with little time.
fn hasty(stub: &Stub) -> Repository {
    let patience = Patience { pause: Duration::from_millis(1), ..Patience::default() };
    let client = Client::new(Config { patience, ..Config::default() });
    client.writable(&Reference::parse(&format!("{}/a/b", stub.host)).unwrap(), None)
}

#[tokio::test]
async fn a_blob_is_begun_and_put() {
    let stub = Stub::new(|request: &Request| match request.method.as_str() {
        "HEAD" => Answer::new(404, ""),
        "POST" => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/7?state=x"),
        _ => Answer::new(201, ""),
    });
    let repository = writable(&stub);
    let digest = Digest::sha256(b"content");
    assert!(!repository.has_blob(&digest).await.unwrap());
    repository.push_blob(&digest, 7, &|| Body::from("content")).await.unwrap();
    repository.push_manifest("1", "application/json", "{}".into()).await.unwrap();
    let seen = stub.requests();
    let put = seen.iter().find(|request| request.path.contains("uploads/7")).unwrap();
    let escaped = digest.as_str().replace(':', "%3A");
    assert_eq!(put.path, format!("/v2/a/b/blobs/uploads/7?state=x&digest={escaped}"));
    assert_eq!((put.header("content-length"), put.body.as_str()), (Some("7"), "content"));
    let manifest = seen.iter().find(|request| request.path == "/v2/a/b/manifests/1").unwrap();
    assert_eq!((manifest.method.as_str(), manifest.body.as_str()), ("PUT", "{}"));
}

#[tokio::test]
async fn who_may_not_write_is_told() {
    let stub =
        Stub::new(|_: &Request| Answer::error(403, "DENIED", "requested access to the resource is denied"));
    let error = writable(&stub).push_blob(&Digest::sha256(b"x"), 1, &|| Body::from("x")).await.unwrap_err();
    assert!(matches!(&error, Error::PushDenied { name, .. } if name.ends_with("/a/b")), "{error}");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hint().is_some_and(|hint| hint.contains("dhow login")));
}

#[tokio::test]
async fn an_upload_without_a_place_fails() {
    let stub = Stub::new(|_: &Request| Answer::new(202, ""));
    let pushed = writable(&stub).push_blob(&Digest::sha256(b"x"), 1, &|| Body::from("x")).await;
    assert!(matches!(pushed.unwrap_err(), Error::Protocol { .. }));
}

#[tokio::test]
async fn files_of_web_servers() {
    let stub =
        Stub::new(|request: &Request| match (request.path.as_str(), request.header("if-none-match")) {
            ("/moved", _) => Answer::new(302, "").with("Location", "/file"),
            (_, Some("\"1\"")) => Answer::new(304, ""),
            ("/asked", _) => {
                let header = |name| request.header(name).unwrap_or("-").to_owned();
                Answer::ok(format!("{} {}", header("accept"), header("user-agent")))
            }
            ("/file", _) => Answer::ok("bytes")
                .with("ETag", "\"1\"")
                .with("Content-Disposition", "attachment; filename=\"x y\""),
            ("/away", _) => Answer::new(302, "").with("Location", "file:///etc/passwd"),
            _ => Answer::new(500, "no"),
        });
    let client = Client::new(Config::default());
    let address = |path: &str| format!("http://{}{path}", stub.host);
    let mut file = client.download(&address("/moved"), Wish::default()).await.unwrap();
    assert_eq!((file.etag(), file.file_name().as_deref()), (Some("\"1\""), Some("x y")));
    assert_eq!(file.chunk().await.unwrap().as_deref(), Some(&b"bytes"[..]));
    let same =
        client.download(&address("/file"), Wish { etag: Some("\"1\""), ..Wish::default() }).await.unwrap();
    assert!(same.unchanged());
    let wish = Wish { accept: Some("text/x"), agent: Some("me/1"), ..Wish::default() };
    let mut asked = client.download(&address("/asked"), wish).await.unwrap();
    assert_eq!(asked.chunk().await.unwrap().as_deref(), Some(&b"text/x me/1"[..]));
    for path in ["/away", "/broken"] {
        assert!(client.download(&address(path), Wish::default()).await.is_err(), "{path}");
    }
}

/// Bytes that are known, or become known when they have been read.
struct Sending {
    bytes: &'static [u8],
    length: Option<u64>,
    opened: Mutex<Vec<u64>>,
}

impl Sending {
    fn new(bytes: &'static [u8], length: Option<u64>) -> Sending {
        Sending { bytes, length, opened: Default::default() }
    }
}

impl registry::Outgoing for Sending {
    fn length(&self) -> Option<u64> {
        self.length
    }

    fn open(&self, from: u64) -> Body {
        self.opened.lock().unwrap().push(from);
        Body::from(&self.bytes[from as usize..])
    }

    fn digest(&self) -> Option<Digest> {
        Some(Digest::sha256(self.bytes))
    }

    fn failed(&self) -> bool {
        false
    }
}

async fn place(repository: &Repository) -> registry::Place {
    match repository.begin_blob(None).await.unwrap() {
        registry::Begun::At(place) => place,
        registry::Begun::Mounted => panic!("mounted"),
    }
}

#[tokio::test]
async fn an_upload_that_broke_goes_on_where_it_stopped() {
    let stub = Stub::new(|request: &Request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", _) => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/1"),
        ("PATCH", "/v2/a/b/blobs/uploads/1") => Answer::new(503, ""),
        ("GET", "/v2/a/b/blobs/uploads/1") => {
            Answer::new(204, "").with("Location", "/v2/a/b/blobs/uploads/2").with("Range", "0-3")
        }
        ("PATCH", _) => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/3"),
        ("PUT", _) => Answer::new(201, ""),
        _ => Answer::ok("{}"),
    });
    let (repository, sending) = (writable(&stub), Sending::new(b"0123456789", Some(10)));
    let digest = repository.send_blob(place(&repository).await, &sending).await.unwrap();
    assert_eq!(digest, Digest::sha256(b"0123456789"));
    assert_eq!(*sending.opened.lock().unwrap(), [0, 4]);
    let second = stub.requests_for("uploads/2").remove(0);
    assert_eq!((second.header("content-range"), second.body.as_str()), (Some("4-9"), "456789"));
    assert!(stub.requests_for("uploads/3")[0].path.contains("digest=sha256"));
}

#[tokio::test]
async fn an_upload_that_was_forgotten_begins_anew_and_does_not_begin_for_ever() {
    let stub = Stub::new(|request: &Request| match request.method.as_str() {
        "POST" => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/1"),
        "PATCH" => Answer::new(503, ""),
        _ => Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    });
    let (repository, sending) = (hasty(&stub), Sending::new(b"0123456789", Some(10)));
    let error = repository.send_blob(place(&repository).await, &sending).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let opened = sending.opened.lock().unwrap().clone();
    assert!(opened.len() > 1 && opened.iter().all(|from| *from == 0), "{opened:?}");
}

/// The first answer to each of these methods is this one.
fn first_of_each(first: Answer) -> Stub {
    let seen = Mutex::new(HashSet::new());
    Stub::new(move |request: &Request| match request.method.as_str() {
        "POST" | "PATCH" | "PUT" if seen.lock().unwrap().insert(request.path.clone()) => first.clone(),
        "POST" => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/1"),
        "PATCH" => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/1"),
        "PUT" => Answer::new(201, ""),
        "GET" if request.path.contains("uploads") => Answer::new(204, "").with("Range", "0-0"),
        _ => Answer::ok("{}"),
    })
}

#[tokio::test]
async fn a_limit_is_waited_for_at_each_step_of_a_push() {
    let stub = first_of_each(Answer::error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", "0"));
    let (repository, sending) = (writable(&stub), Sending::new(b"0123456789", Some(10)));
    repository.send_blob(place(&repository).await, &sending).await.unwrap();
    assert_eq!(
        *sending.opened.lock().unwrap(),
        [0, 0, 0],
        "after the answer to PATCH, and after that to PUT"
    );
    repository.push_manifest("1", "application/json", "{}".into()).await.unwrap();
    assert_eq!(stub.requests_for("manifests/1").len(), 2);
    // What is sent at once is sent once more.
    repository.push_blob(&Digest::sha256(b"short"), 5, &|| Body::from("short")).await.unwrap();
    let short = Digest::sha256(b"short").to_string().replace(':', "%3A");
    let sent = stub.requests_for(&format!("digest={short}"));
    assert_eq!(sent.iter().map(|request| request.body.as_str()).collect::<Vec<_>>(), ["short", "short"]);
}

#[tokio::test]
async fn a_limit_of_hours_ends_a_push() {
    let stub = Stub::new(|request: &Request| match request.method.as_str() {
        "GET" => Answer::ok("{}"),
        _ => Answer::error(429, "TOOMANYREQUESTS", "enough").with("Retry-After", "7200"),
    });
    let repository = writable(&stub);
    for error in [
        repository.begin_blob(None).await.err().unwrap(),
        repository.has_blob(&Digest::sha256(b"x")).await.unwrap_err(),
        repository.push_manifest("1", "application/json", "{}".into()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::RateLimited, "{error}");
        assert!(error.hint().unwrap().contains("come back in 2 hours"), "{:?}", error.hint());
    }
}

/// What stands before a registry is restarted within seconds; a disk that is full stays so.
#[tokio::test]
async fn a_registry_that_was_heard_is_waited_for() {
    let (heard, tried) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stub = Stub::new(move |request: &Request| match request.method.as_str() {
        _ if request.path.ends_with("/v2/") => Answer::ok("{}"),
        "HEAD" => Answer::new(if heard.fetch_add(1, Ordering::SeqCst) < 3 { 502 } else { 404 }, ""),
        "POST" if tried.fetch_add(1, Ordering::SeqCst) < 6 => Answer::new(502, ""),
        "POST" => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/1"),
        _ => Answer::new(507, "full"),
    });
    let repository = hasty(&stub);
    repository.has_blob(&Digest::sha256(b"x")).await.unwrap();
    let place = place(&repository).await;
    assert_eq!(stub.requests_for("uploads/").len(), 7);
    let sending = Sending::new(b"0123456789", Some(10));
    assert!(repository.send_blob(place, &sending).await.unwrap_err().to_string().contains("507"));
    assert_eq!(sending.opened.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_elsewhere_in_the_registry_is_mounted() {
    let stub = Stub::new(|request: &Request| match request.path.contains("from=c%2Fd") {
        true => Answer::new(201, ""),
        false => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/1"),
    });
    let (repository, digest) = (writable(&stub), Digest::sha256(b"x"));
    let begun = repository.begin_blob(Some((&digest, "c/d"))).await.unwrap();
    assert!(matches!(begun, registry::Begun::Mounted));
    // A registry that does not want to mount gives a place to send it to.
    let begun = repository.begin_blob(Some((&digest, "e/f"))).await.unwrap();
    assert!(matches!(begun, registry::Begun::At(_)));
}

fn ann() -> Option<registry::Credentials> {
    Some(registry::Credentials {
        username: "ann".into(),
        password: "secret".into(),
        ..registry::Credentials::default()
    })
}

/// Both learn at the same time that a password is wanted: neither is taken for one whose password is wrong.
#[tokio::test]
async fn requests_at_once_are_let_in_both() {
    let both = std::sync::Barrier::new(2);
    let stub = Stub::new(move |request: &Request| match request.header("authorization") {
        Some(_) => Answer::ok("").cut(0),
        None if request.path == "/v2/" => Answer::ok("{}"),
        None => {
            both.wait();
            Answer::new(401, "").with("WWW-Authenticate", "Basic realm=x").cut(0)
        }
    });
    let reference = Reference::parse(&format!("{}/a/b:1", stub.host)).unwrap();
    let repository = Client::new(Config::default()).writable(&reference, ann());
    let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
    let (one, two) = tokio::join!(repository.has_blob(&one), repository.has_blob(&two));
    assert!(one.unwrap() && two.unwrap());
}

#[tokio::test]
async fn an_upload_that_goes_on_elsewhere_takes_no_password_along() {
    let store = Stub::new(|_: &Request| Answer::new(201, ""));
    let place = format!("http://{}/upload?signature=1", store.host);
    let stub = Stub::new(move |request: &Request| match request.header("authorization") {
        None => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        Some(_) => Answer::new(202, "").with("Location", &place),
    });
    let reference = Reference::parse(&format!("{}/a/b:1", stub.host)).unwrap();
    let repository = Client::new(Config::default()).writable(&reference, ann());
    repository.push_blob(&Digest::sha256(b"content"), 7, &|| Body::from("content")).await.unwrap();
    let seen = store.requests();
    assert!(!seen.is_empty() && seen.iter().all(|request| request.header("authorization").is_none()));
    assert!(stub.requests().iter().any(|request| request.header("authorization").is_some()));
}

/// A body comes once, so a token that has run out is renewed before it is sent.
#[tokio::test]
async fn a_token_that_ran_out_is_renewed_before_an_upload() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let issued = std::sync::atomic::AtomicUsize::new(0);
    let last = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let stub = Stub::on(listener, move |request: &Request| {
        if request.path.starts_with("/token") {
            let token = format!("t{}", issued.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
            *last.lock().unwrap() = format!("Bearer {token}");
            // Run out as soon as it is there.
            return Answer::ok(format!(r#"{{"token":"{token}","expires_in":1}}"#));
        }
        if request.header("authorization") != Some(last.lock().unwrap().as_str()) {
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
            return Answer::new(401, "").with("WWW-Authenticate", &challenge);
        }
        match request.method.as_str() {
            "POST" => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/7"),
            _ => Answer::new(201, ""),
        }
    });
    writable(&stub).push_blob(&Digest::sha256(b"content"), 7, &|| Body::from("content")).await.unwrap();
    let put = stub.requests_for("uploads/7");
    assert!(put.iter().all(|request| request.header("authorization").is_some()), "{put:?}");
}

/// A token that runs out while a blob is on its way is renewed, and what the registry has of the blob by then stays there.
#[tokio::test]
async fn a_token_that_runs_out_while_a_blob_is_sent_is_renewed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let issued = std::sync::atomic::AtomicUsize::new(0);
    let stub = Stub::on(listener, move |request: &Request| {
        if request.path.starts_with("/token") {
            let number = issued.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return Answer::ok(format!(r#"{{"token":"t{number}","expires_in":300}}"#));
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
        let ran_out = || Answer::new(401, "").with("WWW-Authenticate", &challenge);
        match (request.method.as_str(), request.header("authorization")) {
            (_, None) => ran_out(),
            ("POST", _) => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/7"),
            ("PATCH" | "GET", Some("Bearer t0")) => ran_out(),
            ("GET", _) => {
                Answer::new(204, "").with("Location", "/v2/a/b/blobs/uploads/7").with("Range", "0-3")
            }
            ("PATCH", _) => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/8"),
            _ => Answer::new(201, ""),
        }
    });
    let (repository, sending) = (writable(&stub), Sending::new(b"0123456789", Some(10)));
    repository.send_blob(place(&repository).await, &sending).await.unwrap();
    assert_eq!(*sending.opened.lock().unwrap(), [0, 4]);
    let put = stub.requests_for("uploads/8");
    assert_eq!(put[0].header("authorization"), Some("Bearer t1"));
}

#[tokio::test]
async fn an_error_says_what_was_sent() {
    let stub = Stub::new(|request: &Request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", _) => Answer::new(202, "").with("Location", "/v2/a/b/blobs/uploads/1"),
        (_, "/v2/") => Answer::ok("{}"),
        _ => Answer::new(500, "no"),
    });
    let start = |method: &str, rest: &str| format!("{method} \"http://{}/v2/a/b/{rest}", stub.host);
    let digest = Digest::sha256(b"x");
    let pushed = writable(&stub).push_blob(&digest, 1, &|| Body::from("x")).await;
    let manifest = writable(&stub).push_manifest("1", "application/json", "{}".into()).await;
    for (outcome, expected) in [
        (pushed, start("Put", "blobs/uploads/1\": received unexpected HTTP status: 500")),
        (manifest, start("Put", "manifests/1\": received unexpected HTTP status: 500")),
    ] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.starts_with(&expected), "{error}");
    }
}
