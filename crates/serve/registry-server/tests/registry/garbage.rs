//! Garbage collection while the registry serves.

use crate::client::{
    Answer, CONFIG, OCI_INDEX, OCI_MANIFEST, World, files, manifest, sha256, world, world_of,
};
use registry_server::{Collected, Collection};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn collect(world: &World, grace: Duration, untagged: bool) -> Collected {
    world.served.registry.collect(Collection { grace, untagged }).await.unwrap().unwrap()
}

fn blob_file(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap();
    format!("blobs/sha256/{}/{hex}", &hex[..2])
}

#[tokio::test]
async fn what_nothing_names_goes() {
    let world = world().await;
    let document = world.push_image("a", "v1", b"layer").await;
    let stray = world.push_blob("a", b"stray").await;
    world.push_blob("b", b"only there").await;
    world.push_blob("c", b"layer").await;
    let collected = collect(&world, Duration::ZERO, false).await;
    let expected = Collected { manifests: 0, links: 3, blobs: 2, bytes: 15, repositories: 2 };
    assert_eq!(collected, expected);
    assert_eq!(world.get(&format!("/v2/a/blobs/{stray}")).await.status, 404);
    assert_eq!(world.get("/v2/a/manifests/v1").await.body, document);
    assert_eq!(world.get(&format!("/v2/a/blobs/{}", sha256(b"layer"))).await.body, b"layer");
    assert_eq!(world.get("/v2/_catalog").await.json()["repositories"], json!(["a"]));
    assert_eq!(collect(&world, Duration::ZERO, true).await, Collected::default());
    assert_eq!(world.delete(&format!("/v2/a/manifests/{}", sha256(&document))).await.status, 202);
    let collected = collect(&world, Duration::ZERO, false).await;
    assert_eq!((collected.links, collected.blobs, collected.repositories), (2, 2, 1));
    assert_eq!(files(&world.root()), Vec::<String>::new());
}

#[tokio::test]
async fn what_an_index_of_blobs_names_stays() {
    let world = world().await;
    let member =
        |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": sha256(bytes), "size": bytes.len() });
    let layer = member(b"layer", "application/vnd.oci.image.layer.v1.tar+gzip");
    let records = member(b"records", "application/vnd.buildkit.cacheconfig.v0");
    let index =
        json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [layer, records] }).to_string();
    let push = async || world.put("a", "cache", OCI_INDEX, index.as_bytes()).await.status;
    world.push_blob("a", b"layer").await;
    assert_eq!(push().await, 400, "one of them is not there");
    world.push_blob("a", b"records").await;
    assert_eq!(push().await, 201);
    assert_eq!(collect(&world, Duration::ZERO, true).await, Collected::default());
    assert_eq!(world.get(&format!("/v2/a/blobs/{}", sha256(b"records"))).await.body, b"records");
}

#[tokio::test]
async fn what_was_relied_on_a_moment_ago_stays() {
    let world = world().await;
    let (old, new) = (world.push_blob("a", b"old").await, world.push_blob("a", b"new").await);
    let past = std::time::SystemTime::now() - Duration::from_secs(7200);
    for digest in [&old, &new] {
        for path in [blob_file(digest), format!("repositories/a/blobs/{digest}")] {
            std::fs::File::open(world.root().join(path)).unwrap().set_modified(past).unwrap();
        }
    }
    // How a push asks whether it need not send it.
    assert_eq!(world.head(&format!("/v2/a/blobs/{new}")).await.status, 200);
    let collected = collect(&world, Duration::from_secs(3600), false).await;
    assert_eq!((collected.links, collected.blobs), (1, 1));
    assert_eq!(world.get(&format!("/v2/a/blobs/{new}")).await.body, b"new");
    assert_eq!(world.get(&format!("/v2/a/blobs/{old}")).await.status, 404);
}

#[tokio::test]
async fn untagged_manifests_go_when_that_is_wanted() {
    let world = world().await;
    let member = world.push_image("a", "member", b"layer").await;
    let first = world.push_image("a", "v1", b"one").await;
    let second = world.push_image("a", "v1", b"two").await;
    let describe = json!({ "mediaType": OCI_MANIFEST, "digest": sha256(&member), "size": member.len() });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [describe] }).to_string();
    assert_eq!(world.put("a", "index", OCI_INDEX, index.as_bytes()).await.status, 201);
    assert_eq!(world.delete("/v2/a/manifests/member").await.status, 202);
    let mut about = manifest(CONFIG, b"two");
    about["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": sha256(&second), "size": second.len() });
    let about = about.to_string().into_bytes();
    assert_eq!(world.put("a", &sha256(&about), OCI_MANIFEST, &about).await.status, 201);
    assert_eq!(collect(&world, Duration::ZERO, false).await.manifests, 0);
    assert_eq!(collect(&world, Duration::from_secs(3600), true).await.manifests, 0, "they are new");
    let collected = collect(&world, Duration::ZERO, true).await;
    assert_eq!((collected.manifests, collected.links), (1, 1));
    for (document, status) in [(&first, 404), (&second, 200), (&member, 200), (&about, 200)] {
        assert_eq!(world.get(&format!("/v2/a/manifests/{}", sha256(document))).await.status, status);
    }
}

#[tokio::test]
async fn a_manifest_that_is_damaged_keeps_what_it_may_name() {
    let world = world().await;
    let document = world.push_image("a", "v1", b"layer").await;
    let path = world.root().join(format!("repositories/a/manifests/{}", sha256(&document)));
    std::fs::write(path, "damaged").unwrap();
    assert_eq!(collect(&world, Duration::ZERO, true).await, Collected::default());
    assert_eq!(world.get(&format!("/v2/a/blobs/{}", sha256(b"layer"))).await.body, b"layer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_under_way_loses_nothing() {
    let world = Arc::new(world().await);
    let stop = Arc::new(AtomicBool::new(false));
    let collecting = tokio::spawn({
        let (world, stop) = (world.clone(), stop.clone());
        async move {
            let mut runs = 0;
            while !stop.load(Ordering::Relaxed) {
                collect(&world, Duration::from_secs(60), true).await;
                runs += 1;
            }
            runs
        }
    });
    for round in 0..20 {
        // The same few layers come and go, so that content is garbage and is pushed again all the time.
        let layer = format!("layer {}", round % 3).into_bytes();
        let name = format!("a{}", round % 2);
        let document = world.push_image(&name, "v", &layer).await;
        assert_eq!(world.get(&format!("/v2/{name}/blobs/{}", sha256(&layer))).await.body, layer);
        assert_eq!(world.delete(&format!("/v2/{name}/manifests/{}", sha256(&document))).await.status, 202);
        let past = std::time::SystemTime::now() - Duration::from_secs(7200);
        for path in files(&world.root()).iter().filter(|path| !path.starts_with("uploads")) {
            // The collection may be faster.
            let _ = std::fs::File::open(world.root().join(path)).and_then(|file| file.set_modified(past));
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(collecting.await.unwrap() > 0);
}

#[tokio::test]
async fn it_is_done_from_time_to_time() {
    let world = world_of(|config| {
        config.collect_every = Duration::from_millis(50);
        config.garbage.grace = Duration::ZERO;
    })
    .await;
    let digest = world.push_blob("a", b"stray").await;
    let gone = async {
        while world.get(&format!("/v2/a/blobs/{digest}")).await.status != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it goes");
}

#[tokio::test]
async fn what_is_being_pulled_is_pulled_to_its_end() {
    let world = world().await;
    let content: Vec<u8> = (0..16_000_000u32).map(|number| (number >> 4) as u8).collect();
    let digest = world.push_blob("a", &content).await;
    let mut stream = tokio::net::TcpStream::connect(world.served.address).await.unwrap();
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 1000];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(world.delete(&format!("/v2/a/blobs/{digest}")).await.status, 202);
    assert_eq!(collect(&world, Duration::ZERO, false).await.blobs, 1);
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(Answer::parse(&bytes).body == content);
    assert_eq!(world.get(&format!("/v2/a/blobs/{digest}")).await.status, 404);
}

#[test]
fn few_threads_are_enough() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(world().await);
        let pushing = (0..64).map(|number| {
            let world = world.clone();
            tokio::spawn(async move { world.push_blob("a", format!("{number}").as_bytes()).await })
        });
        let pushing = futures_util::future::join_all(pushing);
        let collecting = async {
            for _ in 0..10 {
                collect(&world, Duration::ZERO, false).await;
            }
        };
        // Who waits for the collection must not keep it from its end.
        let both = async { tokio::join!(pushing, collecting).0 };
        let pushed = tokio::time::timeout(Duration::from_secs(60), both).await.expect("no deadlock");
        assert!(pushed.iter().all(Result::is_ok));
    });
}
