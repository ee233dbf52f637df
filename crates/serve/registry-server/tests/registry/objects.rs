//! The same registry over objects of a store that speaks S3.

use crate::client::{OCI_MANIFEST, Served, World, files, sha256, world_of};
use registry::BucketAddress;
use registry_server::{BucketConfig, Collection, Config, Limit};
use serde_json::json;
use std::time::Duration;
use testkit::bucket::{KEY, ObjectStore, SECRET};

fn bucket(store: &ObjectStore, secret: &str) -> BucketConfig {
    let address = BucketAddress {
        name: "images".into(),
        region: "eu-test-1".into(),
        endpoint: store.url(),
        path_style: true,
        credentials: Some((KEY.into(), secret.into(), None)),
    };
    BucketConfig { address, prefix: "/one/".into(), client: registry::Config::default() }
}

async fn over(store: &ObjectStore, limit: Option<u64>) -> World {
    world_of(|config| {
        config.bucket = Some(bucket(store, SECRET));
        config.quota = limit.map(|bytes| Limit { prefix: None, bytes }).into_iter().collect();
    })
    .await
}

#[tokio::test]
async fn push_list_pull_delete() {
    let store = ObjectStore::start();
    let world = over(&store, None).await;
    let document = world.push_image("team/app", "v1", b"layer").await;
    for tag in ["v2", "v3", "v4", "v5"] {
        assert_eq!(world.put("team/app", tag, OCI_MANIFEST, &document).await.status, 201);
    }
    for name in ["a", "b", "c", "d"] {
        world.push_blob(name, name.as_bytes()).await;
    }
    assert!(store.keys().iter().all(|key| key.starts_with("images/one/")), "{:?}", store.keys());
    let again = over(&store, None).await;
    assert_eq!(again.get("/v2/team/app/manifests/v1").await.body, document);
    let layer = format!("/v2/team/app/blobs/{}", sha256(b"layer"));
    assert_eq!(again.get(&layer).await.body, b"layer");
    assert_eq!(again.head(&layer).await.header("content-length"), Some("5"));
    let part = again.send("GET", &layer, &[("Range", "bytes=1-2")], b"").await;
    assert_eq!((part.status, part.body.as_slice()), (206, b"ay".as_slice()));
    let tags = again.get("/v2/team/app/tags/list?n=2&last=v2").await;
    assert_eq!(tags.json()["tags"], json!(["v3", "v4"]));
    assert!(tags.next_page().is_some());
    let all = again.get("/v2/team/app/tags/list").await.json();
    assert_eq!(all["tags"], json!(["v1", "v2", "v3", "v4", "v5"]));
    let names = again.get("/v2/_catalog").await.json();
    assert_eq!(names["repositories"], json!(["a", "b", "c", "d", "team/app"]));
    assert_eq!(again.get("/v2/nobody/tags/list").await.status, 404);
    let mount = format!("/v2/a/blobs/uploads/?mount={}&from=team/app", sha256(b"layer"));
    assert_eq!(again.send("POST", &mount, &[], b"").await.status, 201);
    assert_eq!(again.delete(&layer).await.status, 202);
    assert_eq!(again.get(&layer).await.status, 404);
    assert_eq!(again.delete("/v2/team/app/manifests/v5").await.status, 202);
    assert_eq!(again.delete(&format!("/v2/team/app/manifests/{}", sha256(&document))).await.status, 202);
    assert_eq!(again.get("/v2/team/app/manifests/v1").await.status, 404);
}

#[tokio::test]
async fn what_is_large_goes_in_parts() {
    let store = ObjectStore::start();
    let world = over(&store, None).await;
    let content: Vec<u8> = (0..40_000_000u32).map(|number| (number >> 8) as u8).collect();
    let digest = world.push_blob("a", &content).await;
    let parts = store
        .take_log()
        .iter()
        .filter(|line| line.starts_with("PUT") && line.contains("/blobs/sha256/"))
        .count();
    assert_eq!(parts, 3);
    assert!(world.get(&format!("/v2/a/blobs/{digest}")).await.body == content);
    let range = [("Range", "bytes=20000000-20000003")];
    let part = world.send("GET", &format!("/v2/a/blobs/{digest}"), &range, b"").await;
    assert_eq!(part.body, &content[20_000_000..20_000_004]);
}

#[tokio::test]
async fn garbage_goes_when_it_is_known_to_be_some() {
    let store = ObjectStore::start();
    let world = over(&store, None).await;
    world.push_image("a", "v1", b"layer").await;
    let stray = world.push_blob("a", b"stray").await;
    let collect =
        async |grace| world.served.registry.collect(Collection { grace, untagged: false }).await.unwrap();
    assert_eq!(collect(Duration::from_secs(3600)).await, None, "this server has not seen an hour yet");
    // It was pushed after the run began to look.
    let kept = collect(Duration::from_millis(1)).await.unwrap_or_default();
    assert!(kept.blobs <= 1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    collect(Duration::ZERO).await.unwrap();
    assert_eq!(world.get(&format!("/v2/a/blobs/{stray}")).await.status, 404);
    assert_eq!(world.get(&format!("/v2/a/blobs/{}", sha256(b"layer"))).await.body, b"layer");
}

#[tokio::test]
async fn while_nobody_serves_it_garbage_goes_at_once() {
    let store = ObjectStore::start();
    let world = over(&store, None).await;
    world.push_image("a", "v1", b"layer").await;
    let stray = world.push_blob("a", b"stray").await;
    let mut config = Config::new(world.root());
    config.bucket = Some(bucket(&store, SECRET));
    config.alone = true;
    let error = registry_server::Registry::open(config.clone()).await.err().expect("it is served");
    let source = std::error::Error::source(&error).and_then(std::error::Error::source);
    assert_eq!(source.map(ToString::to_string).as_deref(), Some("another process has the registry open"));
    let World { served, dir } = world;
    drop(served);
    let opened = async {
        loop {
            match registry_server::Registry::open(config.clone()).await {
                Ok(registry) => break registry,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let registry = tokio::time::timeout(Duration::from_secs(30), opened).await.expect("it is not served");
    // What the store has is of 2015.
    let hour = Collection { grace: Duration::from_secs(3600), untagged: false };
    assert_eq!(registry.collect(hour).await.unwrap().expect("it is known").blobs, 1);
    drop(registry);
    let mut config = Config::new(dir.path().join("registry"));
    config.bucket = Some(bucket(&store, SECRET));
    let world = World { served: Served::start(config).await, dir };
    assert_eq!(world.get(&format!("/v2/a/blobs/{stray}")).await.status, 404);
    assert_eq!(world.get(&format!("/v2/a/blobs/{}", sha256(b"layer"))).await.body, b"layer");
}

#[tokio::test]
async fn a_store_that_is_unwell_is_no_answer() {
    let store = ObjectStore::start();
    let world = over(&store, Some(1_000_000)).await;
    world.push_image("a", "v1", b"layer").await;
    store.fall_ill(1);
    assert_eq!(world.get("/v2/a/manifests/v1").await.status, 200, "it is asked again");
    store.fall_ill(100);
    let answer = world.get("/v2/a/manifests/v1").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "UNKNOWN"));
    assert!(
        !String::from_utf8_lossy(&answer.body).contains("127.0.0.1"),
        "whose fault it is, is for the log"
    );
    store.fall_ill(0);
    assert_eq!(world.get("/v2/a/manifests/v1").await.status, 200);
}

#[tokio::test]
async fn parts_that_a_server_has_left_are_aborted_by_the_next() {
    let store = ObjectStore::start();
    let world = over(&store, None).await;
    let content = vec![1; 20_000_000];
    let target = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
    store.refuse_parts(true);
    let answer = world.send("POST", &target, &[], &content).await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "UNKNOWN"));
    assert_eq!(store.unfinished(), 1, "it could not be aborted");
    store.refuse_parts(false);
    let World { served, dir } = world;
    drop(served);
    let mut config = Config::new(dir.path().join("registry"));
    config.bucket = Some(bucket(&store, SECRET));
    let world = World { served: Served::start(config).await, dir };
    let aborted = async {
        while store.unfinished() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), aborted).await.expect("the parts go");
    assert_eq!(world.send("POST", &target, &[], &content).await.status, 201);
    assert_eq!(store.unfinished(), 0);
    let left: Vec<String> =
        files(&world.root()).into_iter().filter(|path| path.starts_with("parts/")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn who_is_not_let_in_is_told_at_the_start() {
    let store = ObjectStore::start();
    let dir = tempfile::tempdir().unwrap();
    let refusal = async |secret: &str, grace| {
        let mut config = Config::new(dir.path());
        config.bucket = Some(bucket(&store, secret));
        (config.collect_every, config.garbage.grace) = (Duration::from_secs(60), grace);
        let error = registry_server::Registry::open(config).await.err().expect("a refusal");
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    };
    let week = Duration::from_secs(7 * 24 * 3600);
    let text = refusal(SECRET, week + Duration::from_secs(1)).await;
    assert_eq!(
        text,
        "collect garbage in a bucket: what was relied on is remembered for 168 hours, and the grace is longer"
    );
    let text = refusal("wrong", week).await;
    assert!(text.starts_with("open the storage: list the bucket: "), "{text}");
    assert!(text.contains("403 Forbidden: SignatureDoesNotMatch"), "{text}");
    assert!(!text.contains("wrong") && !text.contains("X-Amz"), "{text}");
}
