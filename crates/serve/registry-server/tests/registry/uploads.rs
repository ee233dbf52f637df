//! end-4, end-5, end-6, end-11, end-13, end-14.

use crate::client::{Served, World, files, sha256, sha512, world, world_of};
use registry_server::Config;
use std::time::Duration;

async fn begin(world: &World, name: &str) -> String {
    let answer = world.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"").await;
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-0")), "{answer:?}");
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.ends_with(answer.header("docker-upload-uuid").unwrap()), "{location}");
    location
}

#[tokio::test]
async fn a_whole_blob_after_a_post() {
    let world = world().await;
    let place = begin(&world, "a").await;
    let digest = sha256(b"content");
    let answer = world.send("PUT", &format!("{place}?digest={digest}"), &[], b"content").await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), Some(format!("/v2/a/blobs/{digest}").as_str()));
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(world.get(&format!("/v2/a/blobs/{digest}")).await.body, b"content");
    let answer = world.get(&place).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn chunks_in_order() {
    let world = world().await;
    let place = begin(&world, "a").await;
    let answer = world.send("PATCH", &place, &[("Content-Range", "0-3")], b"0123").await;
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-3")));
    for range in ["0-3", "5-8", "3-6"] {
        let answer = world.send("PATCH", &place, &[("Content-Range", range)], b"4567").await;
        assert_eq!((answer.status, answer.code().as_str()), (416, "BLOB_UPLOAD_INVALID"), "{range}");
        assert_eq!(answer.header("range"), Some("0-3"));
        assert_eq!(answer.header("location"), Some(place.as_str()));
    }
    let answer = world.send("PATCH", &place, &[("Content-Range", "4-9")], b"4567").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "SIZE_INVALID"));
    for range in ["nonsense", "4-", "9-4"] {
        let answer = world.send("PATCH", &place, &[("Content-Range", range)], b"4567").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "RANGE_INVALID"), "{range}");
    }
    let answer = world.get(&place).await;
    assert_eq!((answer.status, answer.header("range")), (204, Some("0-3")));
    let answer = world.send("PATCH", &place, &[("Content-Range", "4-7")], b"4567").await;
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-7")));
    let digest = sha256(b"0123456789");
    let last = [("Content-Range", "8-9")];
    let answer = world.send("PUT", &format!("{place}?digest={digest}"), &last, b"89").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(world.get(&format!("/v2/a/blobs/{digest}")).await.body, b"0123456789");
}

#[tokio::test]
async fn streams_without_ranges_or_lengths() {
    let world = world().await;
    let place = begin(&world, "a").await;
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let answer = world.raw((head + "4\r\n0123\r\n3\r\n456\r\n0\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer));
    let digest = sha512(b"0123456");
    let answer = world.send("PUT", &format!("{place}?digest={digest}"), &[], b"").await;
    assert_eq!(answer.status, 201, "the algorithm is only known at the end");
    assert_eq!(world.get(&format!("/v2/a/blobs/{digest}")).await.body, b"0123456");
}

#[tokio::test]
async fn what_it_is_said_to_be_it_must_be() {
    let world = world().await;
    for target in ["", "?digest=", "?digest=sha256:00", "?digest=md5:00", "?digest=sha256:..%2f..%2fx"] {
        let place = begin(&world, "a").await;
        let answer = world.send("PUT", &format!("{place}{target}"), &[], b"content").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"), "{target}");
        assert_eq!(world.delete(&place).await.status, 204);
    }
    let place = begin(&world, "a").await;
    let answer = world.send("PUT", &format!("{place}?digest={}", sha256(b"x")), &[], b"content").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(world.get(&place).await.status, 404, "it can't become right any more");
    let answer = world.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(files(&world.root()), Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_is_cancelled() {
    let world = world().await;
    let place = begin(&world, "a").await;
    assert_eq!(world.send("PATCH", &place, &[], b"0123").await.status, 202);
    assert_eq!(world.delete(&place).await.status, 204);
    for answer in [
        world.get(&place).await,
        world.delete(&place).await,
        world.send("PATCH", &place, &[], b"4567").await,
        world.get("/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000").await,
        world.get("/v2/a/blobs/uploads/no-id").await,
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    }
    assert_eq!(files(&world.root()), Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let world = world().await;
    let place = begin(&world, "a").await;
    let elsewhere = place.replace("/v2/a/", "/v2/b/");
    for answer in [
        world.get(&elsewhere).await,
        world.delete(&elsewhere).await,
        world.send("PATCH", &elsewhere, &[], b"x").await,
        world.send("PUT", &format!("{elsewhere}?digest={}", sha256(b"")), &[], b"").await,
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    }
    assert_eq!(world.get(&place).await.status, 204);
}

#[tokio::test]
async fn blobs_of_other_repositories_are_mounted() {
    let world = world().await;
    let digest = world.push_blob("team/base", b"content").await;
    let target = format!("/v2/app/blobs/uploads/?mount={digest}&from=team%2Fbase");
    let answer = world.send("POST", &target, &[], b"").await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), Some(format!("/v2/app/blobs/{digest}").as_str()));
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(world.get(&format!("/v2/app/blobs/{digest}")).await.body, b"content");
    for target in [
        format!("/v2/other/blobs/uploads/?mount={digest}"),
        format!("/v2/other/blobs/uploads/?mount={digest}&from=nobody"),
        format!("/v2/other/blobs/uploads/?mount={digest}&from=..%2f..%2fteam"),
        format!("/v2/other/blobs/uploads/?mount={}&from=app", sha256(b"other")),
    ] {
        let answer = world.send("POST", &target, &[], b"").await;
        assert_eq!(answer.status, 202, "{target}: it is uploaded then");
        assert!(answer.header("location").is_some());
    }
    let answer = world.send("POST", "/v2/app/blobs/uploads/?mount=nonsense&from=app", &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
}

#[tokio::test]
async fn an_upload_survives_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let first = World { served: Served::start(Config::new(dir.path().join("registry"))).await, dir };
    let place = begin(&first, "a").await;
    assert_eq!(first.send("PATCH", &place, &[], b"0123").await.status, 202);
    let World { served, dir } = first;
    drop(served);
    let second = World { served: Served::start(Config::new(dir.path().join("registry"))).await, dir };
    let answer = second.get(&place).await;
    assert_eq!((answer.status, answer.header("range")), (204, Some("0-3")));
    assert_eq!(second.send("PATCH", &place, &[("Content-Range", "4-5")], b"45").await.status, 202);
    let digest = sha256(b"012345");
    assert_eq!(second.send("PUT", &format!("{place}?digest={digest}"), &[], b"").await.status, 201);
    assert_eq!(second.get(&format!("/v2/a/blobs/{digest}")).await.body, b"012345");
}

#[tokio::test]
async fn the_same_blob_at_once() {
    let world = world().await;
    let content = vec![7; 300_000];
    let digest = sha256(&content);
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    let pushes = (0..8).map(|_| world.send("POST", &target, &[], &content));
    for answer in futures_util::future::join_all(pushes).await {
        assert_eq!(answer.status, 201);
    }
    assert!(world.get(&format!("/v2/a/blobs/{digest}")).await.body == content);
    assert_eq!(files(&world.root()).len(), 2, "one blob, one link: {:?}", files(&world.root()));
}

#[tokio::test]
async fn what_nobody_goes_on_with_is_removed() {
    let world = world_of(|config| config.upload_age = Duration::from_millis(50)).await;
    let place = begin(&world, "a").await;
    let gone = async {
        while world.get(&place).await.status != 404 || !files(&world.root()).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is removed");
}
