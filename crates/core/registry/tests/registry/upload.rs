//! Sending content: what a registry that takes it sees, and registries that do not.

use super::stub::{Answer, Request, Stub};
use oci::{Digest, Reference};
use registry::{Body, Client, Config, Error, Kind, Repository};

fn writable(stub: &Stub) -> Repository {
    let reference = Reference::parse(&format!("{}/a/b:1", stub.host)).unwrap();
    Client::new(Config::default()).writable(&reference, None)
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
    repository.push_blob(&digest, 7, Body::from("content")).await.unwrap();
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
    let error = writable(&stub).push_blob(&Digest::sha256(b"x"), 1, Body::from("x")).await.unwrap_err();
    assert!(matches!(&error, Error::PushDenied { name, .. } if name.ends_with("/a/b")), "{error}");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hint().is_some_and(|hint| hint.contains("dhow login")));
}

#[tokio::test]
async fn an_upload_without_a_place_fails() {
    let stub = Stub::new(|_: &Request| Answer::new(202, ""));
    let pushed = writable(&stub).push_blob(&Digest::sha256(b"x"), 1, Body::from("x")).await;
    assert!(matches!(pushed.unwrap_err(), Error::Protocol { .. }));
}

#[tokio::test]
async fn files_of_web_servers() {
    let stub =
        Stub::new(|request: &Request| match (request.path.as_str(), request.header("if-none-match")) {
            ("/moved", _) => Answer::new(302, "").with("Location", "/file"),
            (_, Some("\"1\"")) => Answer::new(304, ""),
            ("/file", _) => Answer::ok("bytes")
                .with("ETag", "\"1\"")
                .with("Content-Disposition", "attachment; filename=\"x y\""),
            ("/away", _) => Answer::new(302, "").with("Location", "file:///etc/passwd"),
            _ => Answer::new(500, "no"),
        });
    let client = Client::new(Config::default());
    let address = |path: &str| format!("http://{}{path}", stub.host);
    let mut file = client.download(&address("/moved"), None, None).await.unwrap();
    assert_eq!((file.etag(), file.file_name().as_deref()), (Some("\"1\""), Some("x y")));
    assert_eq!(file.chunk().await.unwrap().as_deref(), Some(&b"bytes"[..]));
    let same = client.download(&address("/file"), Some("\"1\""), None).await.unwrap();
    assert!(same.unchanged());
    for path in ["/away", "/broken"] {
        assert!(client.download(&address(path), None, None).await.is_err(), "{path}");
    }
}
