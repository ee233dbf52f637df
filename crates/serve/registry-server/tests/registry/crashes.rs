//! What a crash leaves is no harm: files that are damaged, half there or from before.

use crate::client::{OCI_MANIFEST, Served, World, files, manifest, sha256, world};
use registry_server::Config;

/// A server that starts on what another has left.
async fn again(world: World) -> World {
    let World { served, dir } = world;
    drop(served);
    World { served: Served::start(Config::new(dir.path().join("registry"))).await, dir }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let world = world().await;
    let document = world.push_image("a/b", "v1", b"layer").await;
    let world = again(world).await;
    assert_eq!(world.get("/v2/a/b/manifests/v1").await.body, document);
    assert_eq!(world.get(&format!("/v2/a/b/blobs/{}", sha256(b"layer"))).await.body, b"layer");
    assert_eq!(files(&world.root()).iter().filter(|path| path.starts_with("tmp")).count(), 0);
}

#[tokio::test]
async fn every_prefix_of_a_push_is_consistent() {
    let whole = world().await;
    let document = whole.push_image("a", "v1", b"layer").await;
    let all = files(&whole.root());
    // In the order in which a push makes them, each cut leaves what came before.
    let order = |path: &String| match path.split('/').nth(2) {
        _ if path.starts_with("blobs/") => 0,
        Some("blobs") => 1,
        Some("manifests") => 2,
        _ => 3,
    };
    let mut ordered = all.clone();
    ordered.sort_by_key(order);
    for cut in 0..=ordered.len() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("registry");
        for path in &ordered[..cut] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::copy(whole.root().join(path), root.join(path)).unwrap();
        }
        let world = World { served: Served::start(Config::new(&root)).await, dir };
        let answer = world.get("/v2/a/manifests/v1").await;
        assert!([200, 404].contains(&answer.status), "{cut}: {answer:?}");
        if answer.status == 200 {
            assert_eq!(world.get(&format!("/v2/a/blobs/{}", sha256(b"layer"))).await.status, 200, "{cut}");
        }
        assert_eq!(world.push_image("a", "v1", b"layer").await, document, "{cut}: pushed again");
        assert_eq!(files(&world.root()), all, "{cut}");
    }
}

#[tokio::test]
async fn damaged_files_are_not_served_as_manifests() {
    let world = world().await;
    let document = world.push_image("a", "v1", b"layer").await;
    let path = world.root().join(format!("repositories/a/manifests/{}", sha256(&document)));
    for damage in [b"".as_slice(), b"no line", b"text/html\n<script>", &document] {
        std::fs::write(&path, damage).unwrap();
        let answer = world.get("/v2/a/manifests/v1").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    }
    std::fs::write(world.root().join("repositories/a/tags/v1"), "nonsense").unwrap();
    assert_eq!(world.get("/v2/a/manifests/v1").await.status, 404);
    assert_eq!(world.put("a", "v1", OCI_MANIFEST, &document).await.status, 201);
    assert_eq!(world.get("/v2/a/manifests/v1").await.body, document);
}

#[tokio::test]
async fn a_blob_that_was_cut_short_breaks_off() {
    let world = world().await;
    let content = vec![5; 2_000_000];
    let digest = world.push_blob("a", &content).await;
    let hex = digest.strip_prefix("sha256:").unwrap();
    let path = world.root().join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1_000_000).unwrap();
    // The size on disk is the size that is said, and the digest does not fit: the client notices.
    let answer = world.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_ne!(sha256(&answer.body), digest);
    let document = manifest(b"{}", &content).to_string();
    world.push_blob("a", b"{}").await;
    let answer = world.put("a", "v1", OCI_MANIFEST, document.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "SIZE_INVALID"));
}
