//! A cache of another registry.

use crate::client::{Answer, OCI_MANIFEST, World, raw, sha256, world, world_of};
use registry_server::Upstream;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn cache_of(address: SocketAddr, fresh: Duration) -> World {
    limited_cache_of(address, fresh, None).await
}

async fn limited_cache_of(address: SocketAddr, fresh: Duration, most: Option<u64>) -> World {
    world_of(|config| {
        config.upstream = Some(Upstream {
            host: address.to_string(),
            client: registry::Config::default(),
            credentials: None,
            fresh,
            most,
        });
    })
    .await
}

async fn gone(world: World) {
    let address = world.served.address;
    drop(world);
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("the server stops");
}

#[tokio::test]
async fn what_was_pulled_stays_when_the_other_is_gone() {
    let far = world().await;
    let document = far.push_image("team/app", "v1", b"layer").await;
    far.push_image("team/app", "v2", b"other").await;
    let cache = cache_of(far.served.address, Duration::ZERO).await;
    let layer = format!("/v2/team/app/blobs/{}", sha256(b"layer"));
    let answer = cache.get("/v2/team/app/manifests/v1").await;
    assert_eq!((answer.status, &answer.body), (200, &document));
    assert_eq!(answer.header("content-type"), Some(OCI_MANIFEST));
    assert_eq!(cache.head(&layer).await.header("content-length"), Some("5"));
    assert_eq!(cache.get(&layer).await.body, b"layer");
    let nobodys = format!("/v2/team/app/blobs/{}", sha256(b"nobody's"));
    assert_eq!(cache.get(&nobodys).await.status, 404);
    assert_eq!(cache.get("/v2/team/app/manifests/none").await.status, 404);
    assert_eq!(cache.get("/v2/team/app/tags/list").await.json()["tags"], json!(["v1", "v2"]));
    gone(far).await;
    assert_eq!(cache.get("/v2/team/app/manifests/v1").await.body, document);
    let digest = sha256(&document);
    assert_eq!(cache.get(&format!("/v2/team/app/manifests/{digest}")).await.body, document);
    assert_eq!(cache.get(&layer).await.body, b"layer");
    assert_eq!(cache.get("/v2/team/app/tags/list").await.json()["tags"], json!(["v1"]));
    let unknown = cache.get("/v2/team/app/manifests/v2").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (503, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_tag_is_looked_up_again() {
    let far = world().await;
    let first = far.push_image("a", "v1", b"one").await;
    let (eager, lazy) = (
        cache_of(far.served.address, Duration::ZERO).await,
        cache_of(far.served.address, Duration::from_secs(3600)).await,
    );
    for cache in [&eager, &lazy] {
        assert_eq!(cache.get("/v2/a/manifests/v1").await.body, first);
    }
    let second = far.push_image("a", "v1", b"two").await;
    assert_eq!(eager.get("/v2/a/manifests/v1").await.body, second);
    assert_eq!(lazy.get("/v2/a/manifests/v1").await.body, first, "it was looked up a moment ago");
    assert_eq!(far.delete("/v2/a/manifests/v1").await.status, 202);
    let answer = eager.get("/v2/a/manifests/v1").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn nothing_is_pushed_to_a_cache() {
    let far = world().await;
    let cache = cache_of(far.served.address, Duration::ZERO).await;
    for (method, target) in [("POST", "/v2/a/blobs/uploads/"), ("PUT", "/v2/a/manifests/v1")] {
        let answer = cache.send(method, target, &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{method}");
    }
}

/// A registry with one image, whose layer comes in two halves: the second when it is let go, and perhaps not what it should be.
async fn halting(
    layer: &'static [u8],
    sent: &'static [u8],
) -> (SocketAddr, tokio::sync::watch::Sender<bool>, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (go, wait) = tokio::sync::watch::channel(false);
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    let manifest = crate::client::manifest(b"{}", layer).to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut wait, manifest, counted) = (wait.clone(), manifest.clone(), counted.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 8192];
                let count = stream.read(&mut buffer).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let head = |length: usize, kind: &str| {
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    )
                };
                if request.contains("/manifests/") {
                    let digest =
                        format!("Docker-Content-Digest: {}\r\nConnection", sha256(manifest.as_bytes()));
                    let head = head(manifest.len(), OCI_MANIFEST).replace("Connection", &digest);
                    let body = if request.starts_with("HEAD") { "" } else { &manifest };
                    let _ = stream.write_all((head + body).as_bytes()).await;
                } else if request.contains("/blobs/") {
                    counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let _ = stream.write_all(head(layer.len(), "application/octet-stream").as_bytes()).await;
                    let (first, second) = sent.split_at(sent.len() / 2);
                    let _ = stream.write_all(first).await;
                    let _ = wait.wait_for(|go| *go).await;
                    let _ = stream.write_all(second).await;
                } else {
                    let _ = stream.write_all((head(2, "application/json") + "{}").as_bytes()).await;
                }
            });
        }
    });
    (address, go, count)
}

#[tokio::test]
async fn a_blob_is_given_on_while_it_comes_and_fetched_once() {
    let layer: &[u8] = vec![3; 600_000].leak();
    let (address, go, count) = halting(layer, layer).await;
    let cache = cache_of(address, Duration::from_secs(60)).await;
    assert_eq!(cache.get("/v2/a/manifests/v1").await.status, 200);
    let target = format!("/v2/a/blobs/{}", sha256(layer));
    let mut early = TcpStream::connect(cache.served.address).await.unwrap();
    early
        .write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut bytes = vec![0; 200_000];
    let half = tokio::time::timeout(Duration::from_secs(20), early.read_exact(&mut bytes)).await;
    assert!(half.is_ok(), "the first half is there before the second has come");
    let others: Vec<_> = (0..5)
        .map(|_| {
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let address = cache.served.address;
            tokio::spawn(async move { raw(address, request.as_bytes()).await })
        })
        .collect();
    go.send_replace(true);
    early.read_to_end(&mut bytes).await.unwrap();
    assert!(Answer::parse(&bytes).body == layer);
    for other in others {
        assert!(Answer::parse(&other.await.unwrap()).body == layer);
    }
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
    let part = cache.send("GET", &target, &[("Range", "bytes=10-19")], b"").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &layer[10..20]));
}

#[tokio::test]
async fn what_is_wrong_is_not_given_whole_and_not_kept() {
    let layer: &[u8] = vec![3; 100_000].leak();
    let wrong: &[u8] = vec![4; 100_000].leak();
    let (address, go, _) = halting(layer, wrong).await;
    go.send_replace(true);
    let cache = cache_of(address, Duration::from_secs(60)).await;
    assert_eq!(cache.get("/v2/a/manifests/v1").await.status, 200);
    let digest = sha256(layer);
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = Answer::parse(&cache.raw(request.as_bytes()).await);
    assert!(answer.body.len() < layer.len(), "{} bytes", answer.body.len());
    let hex = digest.strip_prefix("sha256:").unwrap();
    let kept = cache.root().join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
    assert!(!kept.exists());
}

#[tokio::test]
async fn a_cache_of_itself_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let mut config = registry_server::Config::new(dir.path().join("registry"));
    let client = registry::Config::default();
    let fresh = Duration::ZERO;
    config.upstream =
        Some(Upstream { host: address.to_string(), client, credentials: None, fresh, most: None });
    let registry = std::sync::Arc::new(registry_server::Registry::open(config).await.unwrap());
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(registry_server::serve(registry, listener, std::future::pending()));
    let answer = crate::client::send(address, "GET", "/v2/a/manifests/v1", &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "UNAVAILABLE"));
}

#[tokio::test]
async fn what_was_asked_for_longest_ago_makes_room() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let far = world().await;
    let layers: Vec<Vec<u8>> = (0..4).map(|number| vec![number; 40_000]).collect();
    for (number, layer) in layers.iter().enumerate() {
        far.push_image(&format!("app{number}"), "v1", layer).await;
    }
    let cache = limited_cache_of(far.served.address, HOUR, Some(150_000)).await;
    let layer = |number: usize| format!("/v2/app{number}/blobs/{}", sha256(&layers[number]));
    let file = |number: usize| {
        let hex = sha256(&layers[number]).trim_start_matches("sha256:").to_owned();
        cache.root().join(format!("blobs/sha256/{}/{hex}", &hex[..2]))
    };
    let pull = async |number: usize| {
        assert_eq!(cache.get(&format!("/v2/app{number}/manifests/v1")).await.status, 200);
        assert_eq!(cache.get(&layer(number)).await.body, layers[number]);
    };
    let now = std::time::SystemTime::now();
    for number in 0..3 {
        pull(number).await;
        let kept = std::fs::OpenOptions::new().write(true).open(file(number)).unwrap();
        kept.set_modified(now - HOUR * (24 - number as u32)).unwrap();
    }
    // The oldest is asked for again.
    assert_eq!(cache.get(&layer(0)).await.body, layers[0]);
    pull(3).await;
    let gone = async {
        while file(1).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("there is too much");
    let evicted = async {
        while !cache.served.registry.figures().contains("dhow_registry_cache_evicted_total 1\n") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), evicted).await.expect("one is enough");
    assert_eq!([0, 2, 3].map(|number| file(number).exists()), [true; 3]);
    assert_eq!(cache.get("/v2/app1/manifests/v1").await.status, 200, "documents are small");
    assert_eq!(cache.head(&layer(1)).await.header("content-length"), Some("40000"), "it can be had");
    pull(1).await;
    // Its manifest goes while somebody who has it asks for the rest.
    std::fs::remove_dir_all(cache.root().join("repositories/app1/manifests")).unwrap();
    std::fs::remove_file(file(1)).unwrap();
    assert_eq!(cache.head(&layer(1)).await.header("content-length"), Some("40000"));
    assert_eq!(cache.get(&layer(1)).await.body, layers[1]);
    let nobodys = format!("/v2/app1/blobs/{}", sha256(b"nobody's"));
    assert_eq!(cache.get(&nobodys).await.code(), "BLOB_UNKNOWN");
}
