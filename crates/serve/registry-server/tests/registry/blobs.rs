//! end-1, end-2, end-10.

use crate::client::{sha256, sha512, world};

#[tokio::test]
async fn the_base_says_which_protocol_it_is() {
    let world = world().await;
    for target in ["/v2/", "/v2"] {
        let answer = world.get(target).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()));
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
    }
    assert_eq!(world.head("/v2/").await.status, 200);
    let answer = world.send("POST", "/v2/", &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"));
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    assert_eq!(world.get("/v1/_ping").await.status, 404);
}

#[tokio::test]
async fn a_blob_is_what_was_pushed() {
    let world = world().await;
    let content: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let digest = world.push_blob("a/b", &content).await;
    let target = format!("/v2/a/b/blobs/{digest}");
    let answer = world.get(&target).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == content, "{} bytes", answer.body.len());
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(answer.header("content-length"), Some("3000000"));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    let head = world.head(&target).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("3000000"));
    let same = world.send("GET", &target, &[("If-None-Match", &format!("\"{digest}\""))], b"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    // The content is there once, and only in the repository that has it.
    let other = world.get(&format!("/v2/other/blobs/{digest}")).await;
    assert_eq!((other.status, other.code().as_str()), (404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn an_empty_blob_is_one() {
    let world = world().await;
    let digest = world.push_blob("a", b"").await;
    let answer = world.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let answer = world.send("GET", &format!("/v2/a/blobs/{digest}"), &[("Range", "bytes=0-")], b"").await;
    assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */0")));
}

#[tokio::test]
async fn sha512_is_sha512() {
    let world = world().await;
    let (content, digest) = (b"content", sha512(b"content"));
    let answer = world.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], content).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(world.get(&format!("/v2/a/blobs/{digest}")).await.body, content);
    let other = world.get(&format!("/v2/a/blobs/{}", sha256(content))).await;
    assert_eq!((other.status, other.code().as_str()), (404, "BLOB_UNKNOWN"));
    let wrong = sha512(b"other");
    let answer = world.send("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &[], content).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
}

#[tokio::test]
async fn ranges_of_a_blob() {
    let world = world().await;
    let digest = world.push_blob("a", b"0123456789").await;
    let target = format!("/v2/a/blobs/{digest}");
    for (range, status, shown, body) in [
        ("bytes=0-3", 206, Some("bytes 0-3/10"), "0123"),
        ("bytes=4-", 206, Some("bytes 4-9/10"), "456789"),
        ("bytes=-2", 206, Some("bytes 8-9/10"), "89"),
        ("bytes=8-99", 206, Some("bytes 8-9/10"), "89"),
        ("bytes=2-18446744073709551615", 206, Some("bytes 2-9/10"), "23456789"),
        ("bytes=0-1,3-4", 200, None, "0123456789"),
        ("bytes=5-2", 200, None, "0123456789"),
        ("nonsense", 200, None, "0123456789"),
    ] {
        let answer = world.send("GET", &target, &[("Range", range)], b"").await;
        assert_eq!((answer.status, answer.header("content-range")), (status, shown), "{range}");
        assert_eq!(String::from_utf8_lossy(&answer.body), body, "{range}");
        assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()), "{range}");
    }
    for range in ["bytes=10-", "bytes=99999999999999999999-", "bytes=-0"] {
        let answer = world.send("GET", &target, &[("Range", range)], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (416, "RANGE_INVALID"), "{range}");
        assert_eq!(answer.header("content-range"), Some("bytes */10"), "{range}");
    }
    let other = [("Range", "bytes=0-3"), ("If-Range", "\"sha256:00\"")];
    assert_eq!(world.send("GET", &target, &other, b"").await.status, 200);
}

#[tokio::test]
async fn a_blob_is_deleted_in_one_repository() {
    let world = world().await;
    let digest = world.push_blob("a", b"content").await;
    world.push_blob("b", b"content").await;
    let answer = world.delete(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!((answer.status, answer.header("docker-content-digest")), (202, Some(digest.as_str())));
    for answer in [
        world.get(&format!("/v2/a/blobs/{digest}")).await,
        world.delete(&format!("/v2/a/blobs/{digest}")).await,
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UNKNOWN"));
    }
    assert_eq!(world.get(&format!("/v2/b/blobs/{digest}")).await.body, b"content");
}
