//! The client against registries that behave and registries that do not.

#[path = "registry/attacks.rs"]
mod attacks;
#[path = "registry/mirrors.rs"]
mod mirrors;
#[path = "registry/proxies.rs"]
mod proxies;
#[path = "registry/ranges.rs"]
mod ranges;
mod stub;
#[path = "registry/upload.rs"]
mod upload;
#[path = "registry/waiting.rs"]
mod waiting;

use oci::image::Descriptor;
use oci::{Digest, Reference};
use registry::{Blob, Client, Config, Credentials, Error, Kind, Repository};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use stub::{Answer, Request, Stub};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

fn manifest() -> String {
    let digest = Digest::sha256(b"config");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":6}},"layers":[]}}"#
    )
}

fn manifest_answer() -> Answer {
    Answer::ok(manifest()).with("Content-Type", MANIFEST_TYPE)
}

fn repository(stub: &Stub, rest: &str, credentials: Option<Credentials>) -> Repository {
    let reference = Reference::parse(&format!("{}/{rest}", stub.host)).unwrap();
    Client::new(Config::default()).repository(&reference, credentials)
}

fn ann() -> Credentials {
    Credentials { username: "ann".into(), password: "secret".into(), ..Credentials::default() }
}

/// `ann:secret`
const BASIC: &str = "Basic YW5uOnNlY3JldA==";

async fn read(mut blob: Blob) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    while let Some(bytes) = blob.chunk().await? {
        content.extend_from_slice(&bytes);
    }
    Ok(content)
}

fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::sha256(content), content.len() as u64)
}

/// A registry whose manifests need a token from a token server at the same place.
fn guarded(listener: TcpListener, answer: fn(&Request) -> Answer) -> Stub {
    let host = listener.local_addr().unwrap().to_string();
    Stub::on(listener, move |request| {
        if request.path.starts_with("/token") {
            return Answer::ok(r#"{"token":"t0ken","expires_in":300}"#);
        }
        if request.header("authorization") == Some("Bearer t0ken") {
            return answer(request);
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="stub",scope="x""#);
        Answer::error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", &challenge)
    })
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[tokio::test]
async fn a_tag_is_resolved_with_an_anonymous_token() {
    let stub = guarded(listener(), |_| manifest_answer());
    let (descriptor, bytes) = repository(&stub, "team/app:1.0", None).resolve().await.unwrap();
    assert_eq!(bytes, manifest());
    assert_eq!(descriptor.digest, Digest::sha256(manifest().as_bytes()));
    assert_eq!((descriptor.media_type.as_str(), descriptor.size), (MANIFEST_TYPE, bytes.len() as u64));
    let asked = &stub.requests_for("/token")[0];
    assert_eq!(asked.path, "/token?service=stub&scope=repository%3Ateam%2Fapp%3Apull&client_id=dhow");
    assert_eq!(asked.header("authorization"), None);
    let asked = &stub.requests_for("manifests")[0];
    assert_eq!(asked.path, "/v2/team/app/manifests/1.0");
    assert!(asked.header("accept").unwrap().contains(INDEX_TYPE));
    assert!(asked.header("user-agent").unwrap().starts_with("dhow/"));
}

#[tokio::test]
async fn a_name_and_a_password_are_exchanged_for_a_token() {
    let stub = guarded(listener(), |_| manifest_answer());
    repository(&stub, "app", Some(ann())).resolve().await.unwrap();
    assert_eq!(stub.requests_for("/token")[0].header("authorization"), Some(BASIC));
    let seen: Vec<_> =
        stub.requests_for("manifests").iter().map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(seen, [None, Some("Bearer t0ken".to_owned())], "the registry never sees the password");
}

#[tokio::test]
async fn an_identity_token_is_refreshed() {
    let stub = guarded(listener(), |_| manifest_answer());
    let credentials = Credentials { identitytoken: "id/1".into(), ..Credentials::default() };
    repository(&stub, "app", Some(credentials)).resolve().await.unwrap();
    let asked = &stub.requests_for("/token")[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    assert_eq!(
        asked.body,
        "service=stub&scope=repository%3Aapp%3Apull&client_id=dhow&grant_type=refresh_token&refresh_token=id%2F1"
    );
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let stub = guarded(listener(), |_| manifest_answer());
    let credentials = Credentials { registrytoken: "t0ken".into(), ..Credentials::default() };
    repository(&stub, "app", Some(credentials)).resolve().await.unwrap();
    assert!(stub.requests_for("/token").is_empty());
    let wrong = Credentials { registrytoken: "other".into(), ..Credentials::default() };
    let error = repository(&stub, "app", Some(wrong)).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
}

#[tokio::test]
async fn basic_authentication() {
    let stub = Stub::new(|request| match request.header("authorization") {
        Some(BASIC) => manifest_answer(),
        _ => Answer::new(401, "").with("WWW-Authenticate", r#"Basic realm="stub""#),
    });
    repository(&stub, "app", Some(ann())).resolve().await.unwrap();
    let error = repository(&stub, "app", None).resolve().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "pull access denied for {}/app, repository does not exist or may require 'docker login': \
             denied: requested access to the resource is denied",
            stub.host
        )
    );
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed() {
    let listener = listener();
    let host = listener.local_addr().unwrap().to_string();
    let hour = Arc::new(AtomicUsize::new(0));
    let clock = hour.clone();
    let stub = Stub::on(listener, move |request| {
        let current = clock.load(Ordering::SeqCst);
        if request.path.starts_with("/token") {
            return Answer::ok(format!(r#"{{"access_token":"t{current}"}}"#));
        }
        if request.header("authorization") == Some(&format!("Bearer t{current}")) {
            return manifest_answer();
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        Answer::new(401, "").with("WWW-Authenticate", &challenge)
    });
    let repository = repository(&stub, "app", None);
    for passed in 0..3 {
        hour.store(passed, Ordering::SeqCst);
        repository.resolve().await.unwrap();
        repository.resolve().await.unwrap();
    }
    assert_eq!(stub.requests_for("/token").len(), 3);
}

#[tokio::test]
async fn layers_that_start_together_share_a_token() {
    let stub = guarded(listener(), |_| Answer::ok("content"));
    let repository = repository(&stub, "app", None);
    let reads = (0..8).map(|_| tokio::spawn(read(repository.blob(&descriptor(b"content")))));
    for read in reads.collect::<Vec<_>>() {
        assert_eq!(read.await.unwrap().unwrap(), b"content");
    }
    assert_eq!(stub.requests_for("/token").len(), 1);
}

#[tokio::test]
async fn credentials_stay_with_their_registry() {
    let store = Stub::new(|_| Answer::ok("content"));
    let target = format!("http://{}/signed?secret=1", store.host);
    let stub = Stub::new(move |request| match request.header("authorization") {
        Some(BASIC) => Answer::new(307, "").with("Location", &target),
        _ => Answer::new(401, "").with("WWW-Authenticate", "Basic"),
    });
    let repository = repository(&stub, "app", Some(ann()));
    assert_eq!(read(repository.blob(&descriptor(b"content"))).await.unwrap(), b"content");
    let seen = store.requests();
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, None));
    assert!(stub.requests_for("blobs").iter().any(|request| request.header("authorization") == Some(BASIC)));
}

#[tokio::test]
async fn a_store_that_asks_for_credentials_gets_none() {
    let thief = Stub::new(|_| Answer::new(401, "").with("WWW-Authenticate", "Basic realm=x"));
    let target = format!("http://{}/", thief.host);
    let stub = Stub::new(move |request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ => Answer::new(302, "").with("Location", &target),
    });
    let error = read(repository(&stub, "app", Some(ann())).blob(&descriptor(b"x"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(thief.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn redirects_end() {
    let stub = Stub::new(|_| Answer::new(302, "").with("Location", "/again"));
    let error = repository(&stub, "app", None).resolve().await.unwrap_err();
    assert!(error.to_string().ends_with("stopped after 10 redirects"), "{error}");
    assert_eq!(error.kind(), Kind::Protocol);
}

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

fn first_byte(request: &Request) -> usize {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
    range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let stub = Stub::new(|request| {
        let (content, from) = (content(), first_byte(request));
        let rest = &content[from..];
        let cut = rest.len().min(500_000);
        match from {
            0 => Answer::ok(rest).cut(cut),
            _ => Answer::new(206, rest)
                .with("Content-Range", &format!("bytes {from}-{}/{}", content.len() - 1, content.len()))
                .cut(cut),
        }
    });
    let repository = repository(&stub, "app", None);
    assert_eq!(read(repository.blob(&descriptor(&content()))).await.unwrap(), content());
    let seen: Vec<usize> = stub.requests_for("blobs").iter().map(first_byte).collect();
    assert_eq!(seen, [0, 500_000, 1_000_000]);
}

#[tokio::test]
async fn a_registry_without_ranges_starts_again() {
    let count = AtomicUsize::new(0);
    let stub = Stub::new(move |request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ if count.fetch_add(1, Ordering::SeqCst) == 0 => Answer::ok(content()).cut(400_000),
        _ => Answer::ok(content()),
    });
    let repository = repository(&stub, "app", None);
    assert_eq!(read(repository.blob(&descriptor(&content()))).await.unwrap(), content());
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let stub = Stub::new(|request| match first_byte(request) {
        0 => Answer::ok(content()).cut(1000),
        _ => Answer::new(206, content()).with("Content-Range", "bytes 5-9/10"),
    });
    let error = read(repository(&stub, "app", None).blob(&descriptor(&content()))).await.unwrap_err();
    assert!(error.to_string().ends_with("range answer does not start where it was asked to"), "{error}");
}

#[tokio::test]
async fn a_download_without_progress_is_given_up() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ => Answer::ok("content").cut(0),
    });
    let error = read(repository(&stub, "app", None).blob(&descriptor(b"content"))).await.unwrap_err();
    assert!(matches!(error, Error::Broken { received: 0, .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn content_must_be_what_was_asked_for() {
    let stub = Stub::new(|_| Answer::ok("tampered"));
    let repository = repository(&stub, "app", None);
    let error = read(repository.blob(&descriptor(b"original"))).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error:?}");
    let error = read(repository.blob(&descriptor(b"short"))).await.unwrap_err();
    assert!(matches!(error, Error::WrongSize { expected: 5, .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Protocol);
    let missing = Stub::new(|_| Answer::error(404, "BLOB_UNKNOWN", "blob unknown to registry"));
    let error = read(self::repository(&missing, "app", None).blob(&descriptor(b"x"))).await.unwrap_err();
    assert!(error.to_string().ends_with(" not found: blob unknown: blob unknown to registry"), "{error}");
    let terse = Stub::new(|_| Answer::error(404, "BLOB_UNKNOWN", "blob unknown"));
    let error = read(self::repository(&terse, "app", None).blob(&descriptor(b"x"))).await.unwrap_err();
    assert!(error.to_string().ends_with(" not found: blob unknown"), "{error}");
}

#[tokio::test]
async fn an_empty_blob_is_verified_too() {
    let stub = Stub::new(|_| Answer::ok(""));
    let repository = repository(&stub, "app", None);
    assert_eq!(read(repository.blob(&descriptor(b""))).await.unwrap(), b"");
    let wrong = Descriptor::new("x", Digest::sha256(b"x"), 0);
    assert!(matches!(read(repository.blob(&wrong)).await, Err(Error::WrongDigest { .. })));
}

#[tokio::test]
async fn manifests_must_be_what_was_asked_for() {
    let stub = Stub::new(|_| manifest_answer());
    let wanted = Digest::sha256(b"another");
    let error = repository(&stub, "app", None).manifest(&wanted).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error:?}");
    let liar = Stub::new(move |_| manifest_answer().with("Docker-Content-Digest", wanted.as_str()));
    let error = repository(&liar, "app", None).resolve().await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error:?}");
}

#[tokio::test]
async fn hostile_manifests_are_refused() {
    let refused = async |answer: Answer| {
        let stub = Stub::new(move |_| answer.clone());
        repository(&stub, "app", None).resolve().await.unwrap_err()
    };
    let error = refused(Answer::ok(vec![b' '; 5 << 20])).await;
    assert!(error.to_string().ends_with("answer is longer than 4194304 bytes"), "{error}");
    assert!(matches!(refused(Answer::ok("<html>")).await, Error::Manifest { .. }));
    assert!(matches!(refused(Answer::ok(r#"{"schemaVersion":1}"#)).await, Error::Manifest { .. }));
    let both = r#"{"schemaVersion":2,"layers":[],"config":{},"manifests":[]}"#;
    assert!(matches!(refused(Answer::ok(both)).await, Error::Manifest { .. }));
    let error = refused(Answer::ok(manifest()).with("Content-Type", INDEX_TYPE)).await;
    assert!(error.to_string().ends_with("does not fit the document"), "{error}");
    assert_eq!(error.kind(), Kind::Protocol);
}

#[tokio::test]
async fn refusals_have_dockers_words() {
    let refused = async |answer: Answer| {
        let stub = Stub::new(move |_| answer.clone());
        let error = repository(&stub, "team/app:nope", None).resolve().await.unwrap_err();
        (error.kind(), error.to_string().replace(&stub.host, "R"))
    };
    assert_eq!(
        refused(Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown")).await,
        (Kind::NotFound, "manifest for R/team/app:nope not found: manifest unknown: manifest unknown".into())
    );
    assert_eq!(
        refused(Answer::error(404, "NAME_UNKNOWN", "repository name not known to registry")).await,
        (
            Kind::NotFound,
            "repository R/team/app not found: name unknown: repository name not known to registry".into()
        )
    );
    assert_eq!(
        refused(Answer::error(403, "DENIED", "requested access to the resource is denied")).await,
        (
            Kind::Denied,
            "pull access denied for R/team/app, repository does not exist or may require 'docker login': \
             denied: requested access to the resource is denied"
                .into()
        )
    );
    assert_eq!(
        refused(Answer::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit")).await,
        (Kind::RateLimited, "toomanyrequests: You have reached your pull rate limit".into())
    );
    let (kind, text) = refused(Answer::new(418, "")).await;
    assert_eq!(kind, Kind::Protocol);
    assert!(text.ends_with("received unexpected HTTP status: 418 I'm a teapot"), "{text}");
    let (_, text) = refused(Answer::error(400, "UNSUPPORTED", r"\u001b[31mred\nline")).await;
    assert!(text.ends_with(": unsupported:  [31mred line"), "{text:?}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let stub = Stub::new(move |request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ => match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::new(503, ""),
            1 => Answer::new(429, "").with("Retry-After", "0"),
            _ => manifest_answer(),
        },
    });
    repository(&stub, "app", None).resolve().await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable() {
    let stub_host = listener().local_addr().unwrap().to_string();
    let reference = Reference::parse(&format!("{stub_host}/app")).unwrap();
    let error = Client::new(Config::default()).repository(&reference, None).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.to_string(), format!(r#"Get "http://{stub_host}/v2/app/manifests/latest""#));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, format!("dial tcp {stub_host}: connect: connection refused"));
}

#[tokio::test]
async fn tags_come_in_pages() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v2/app/tags/list?n=1000" => Answer::ok(r#"{"name":"app","tags":["1.0","1.1"]}"#)
            .with("Link", r#"</v2/app/tags/list?last=1.1&n=1000>; rel="next""#),
        "/v2/app/tags/list?last=1.1&n=1000" => Answer::ok(r#"{"name":"app","tags":["2.0"]}"#)
            .with("Link", r#"<http://evil.example/>; rel="next""#),
        _ => Answer::ok(r#"{"name":"app","tags":null}"#),
    });
    assert_eq!(repository(&stub, "app", None).tags().await.unwrap(), ["1.0", "1.1", "2.0"]);
    assert!(repository(&stub, "none", None).tags().await.unwrap().is_empty());
}

#[tokio::test]
async fn login_is_checked_by_the_registry() {
    let stub = Stub::new(|request| match request.header("authorization") {
        Some(BASIC) => Answer::ok("{}"),
        Some(_) => Answer::error(401, "UNAUTHORIZED", "incorrect username or password")
            .with("WWW-Authenticate", "Basic"),
        None => Answer::new(401, "").with("WWW-Authenticate", "Basic"),
    });
    let client = Client::new(Config::default());
    client.login(&stub.host, ann()).await.unwrap();
    let wrong = Credentials { password: "guess".into(), ..ann() };
    let error = client.login(&format!("http://{}/v2/", stub.host), wrong).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!(r#"Get "http://{}/v2/": unauthorized: incorrect username or password"#, stub.host)
    );
}

#[tokio::test]
async fn a_token_server_says_no() {
    let listener = listener();
    let host = listener.local_addr().unwrap().to_string();
    let stub = Stub::on(listener, move |request| {
        if request.path.starts_with("/token") {
            return Answer::new(401, r#"{"details":"incorrect username or password"}"#);
        }
        Answer::new(401, "").with("WWW-Authenticate", &format!(r#"Bearer realm="http://{host}/token""#))
    });
    let error = repository(&stub, "app", Some(ann())).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(error.to_string().ends_with("/token\": incorrect username or password"), "{error}");
    assert!(!format!("{error:?}").contains("secret"));
}
