//! Registries that try to give something else than what was asked for, to be paid with somebody's password, to reach what
//! they can't, or never to end.

use std::time::Duration;

use oci::image::{Index, Manifest};
use registry::Problem;

use super::*;

/// What a request ends with, which it must within some seconds.
async fn refused<T: std::fmt::Debug>(request: impl Future<Output = Result<T, Error>>) -> Error {
    tokio::time::timeout(Duration::from_secs(30), request).await.expect("it ends").unwrap_err()
}

fn problem(error: Error) -> Problem {
    match error {
        Error::Protocol { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bodies_without_an_end() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        path if path.contains("/blobs/") => Answer::ok(vec![b'x'; 4096]).endless(),
        path if path.contains("/tags/") => Answer::ok(vec![b' '; 4096]).endless(),
        path if path.contains("denied") => Answer::new(403, vec![b' '; 4096]).endless(),
        _ => Answer::ok(vec![b' '; 4096]).with("Content-Type", MANIFEST_TYPE).endless(),
    });
    let app = repository(&stub, "app", None);
    assert_eq!(problem(refused(app.resolve()).await), Problem::TooLong(4 << 20));
    assert_eq!(problem(refused(app.tags()).await), Problem::TooLong(4 << 20));
    let denied = repository(&stub, "denied", None);
    assert_eq!(problem(refused(denied.resolve()).await), Problem::TooLong(256 << 10));
    let error = refused(read(app.blob(&descriptor(b"a few bytes")))).await;
    assert!(matches!(error, Error::WrongSize { .. } | Error::WrongDigest { .. }), "{error:?}");
}

#[tokio::test]
async fn tokens_without_an_end_and_of_other_things_than_text() {
    for (body, endless) in [
        ("    ", true),
        (r#"{"token":"a\r\nX-Evil: 1"}"#, false),
        (r#"{"token":"a b"}"#, false),
        (r#"{"token":7}"#, false),
        ("{}", false),
        ("[[[[", false),
    ] {
        let listener = listener();
        let host = listener.local_addr().unwrap().to_string();
        let stub = Stub::on(listener, move |request| {
            if request.path.starts_with("/token") {
                let answer = Answer::ok(body);
                return if endless { answer.endless() } else { answer };
            }
            Answer::new(401, "").with("WWW-Authenticate", &format!(r#"Bearer realm="http://{host}/token""#))
        });
        let found = problem(refused(repository(&stub, "app", Some(ann())).resolve()).await);
        assert!(matches!(found, Problem::TooLong(_) | Problem::BadDocument), "{body}: {found:?}");
    }
}

#[tokio::test]
async fn redirects_to_what_is_no_place_on_the_web() {
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "unix:/run/x", "//"] {
        let stub = Stub::new(move |request| match request.path.as_str() {
            "/v2/" => Answer::ok("{}"),
            _ => Answer::new(307, "").with("Location", location),
        });
        let app = repository(&stub, "app", None);
        assert_eq!(problem(refused(app.resolve()).await), Problem::BadRedirect, "{location}");
        let error = refused(read(app.blob(&descriptor(b"x")))).await;
        assert_eq!(problem(error), Problem::BadRedirect, "{location}");
    }
}

/// A token is for the registry that asked for it: not for where it sends us, nor for a way back from there.
#[tokio::test]
async fn a_token_does_not_follow() {
    let store = Stub::new(|request| match request.path.as_str() {
        path if path.starts_with("/refuse") => {
            Answer::new(401, "").with("WWW-Authenticate", r#"Bearer realm="http://127.0.0.1:1/token""#)
        }
        _ => Answer::ok("content"),
    });
    let listener = listener();
    let host = listener.local_addr().unwrap().to_string();
    let elsewhere = store.host.clone();
    let stub = Stub::on(listener, move |request| {
        if request.path.starts_with("/token") {
            return Answer::ok(r#"{"token":"t0ken","expires_in":300}"#);
        }
        if request.header("authorization") != Some("Bearer t0ken") {
            let challenge = format!(r#"Bearer realm="http://{host}/token""#);
            return Answer::new(401, "").with("WWW-Authenticate", &challenge);
        }
        let target = if request.path.contains("/blobs/") { "content" } else { "refuse?signature=s3cret" };
        Answer::new(302, "").with("Location", &format!("http://{elsewhere}/{target}"))
    });
    let app = repository(&stub, "app", Some(ann()));
    assert_eq!(read(app.blob(&descriptor(b"content"))).await.unwrap(), b"content");
    let error = refused(app.resolve()).await;
    assert_eq!(error.kind(), Kind::Denied);
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert_eq!(store.requests().len(), 2, "its challenge is not answered: {:?}", store.requests());
    assert!(store.requests().iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(stub.requests_for("/token").len(), 1);
}

/// What an object store says about an address with a signature is told without the signature.
#[tokio::test]
async fn signatures_stay_out_of_messages() {
    for status in [400, 418, 200] {
        let store = Stub::new(move |_| Answer::new(status, vec![b' '; 5 << 20]));
        let target = format!("http://{}/x?signature=s3cret", store.host);
        let stub = Stub::new(move |_| Answer::new(302, "").with("Location", &target));
        let error = refused(repository(&stub, "app", None).resolve()).await;
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

/// An index and its members must agree, and a member must be what the index says.
#[tokio::test]
async fn members_of_an_index_are_what_it_says() {
    let stub = Stub::new(|_| manifest_answer());
    let app = repository(&stub, "app", None);
    let honest = Descriptor::of(MANIFEST_TYPE, manifest().as_bytes());
    app.member(&honest).await.unwrap();
    app.member(&Descriptor { media_type: String::new(), ..honest.clone() }).await.unwrap();
    let longer = Descriptor { size: honest.size + 1, ..honest.clone() };
    assert!(matches!(refused(app.member(&longer)).await, Error::WrongSize { .. }));
    for named in [INDEX_TYPE, "application/json", "application/vnd.oci.image.layer.v1.tar"] {
        let other = Descriptor { media_type: named.into(), ..honest.clone() };
        assert_eq!(problem(refused(app.member(&other)).await), Problem::WrongType(named.into()));
    }
}

#[tokio::test]
async fn documents_that_two_readers_read_differently() {
    let config = Descriptor::of("application/vnd.oci.image.config.v1+json", b"{}");
    let manifest = serde_json::to_value(Manifest::new(config, vec![])).unwrap();
    let index = serde_json::to_value(Index::new(vec![])).unwrap();
    let mut both = manifest.clone();
    both["manifests"] = index["manifests"].clone();
    let mut null = both.clone();
    null["manifests"] = serde_json::Value::Null;
    null["layers"] = serde_json::Value::Null;
    let twice = manifest.to_string().replacen('{', r#"{"layers":[],"layers":[],"#, 1);
    let deep = format!(r#"{{"schemaVersion":2,"x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let mut posing = manifest.clone();
    posing["mediaType"] = INDEX_TYPE.into();
    for (body, header) in [
        (both.to_string(), MANIFEST_TYPE),
        (both.to_string(), INDEX_TYPE),
        (null.to_string(), INDEX_TYPE),
        (twice, MANIFEST_TYPE),
        (deep, MANIFEST_TYPE),
        (posing.to_string(), INDEX_TYPE),
        (posing.to_string(), MANIFEST_TYPE),
        (manifest.to_string(), INDEX_TYPE),
        (index.to_string(), MANIFEST_TYPE),
    ] {
        let shown = body[..body.len().min(100)].to_owned();
        let stub = Stub::new(move |_| Answer::ok(body.as_bytes()).with("Content-Type", header));
        let error = refused(repository(&stub, "app", None).resolve()).await;
        assert_eq!(error.kind(), Kind::Protocol, "{header} {shown}: {error}");
    }
}
