//! What happens is told.

use crate::client::{Answer, sha256, world_of};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that refuses the first requests and keeps what it takes.
async fn listen(refusals: usize) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = taken.clone();
    tokio::spawn(async move {
        let mut left = refusals;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            let request = loop {
                let count = stream.read(&mut buffer).await.unwrap_or(0);
                bytes.extend_from_slice(&buffer[..count]);
                let request = Answer::parse(&bytes);
                let length = request.header("content-length").and_then(|text| text.parse().ok());
                if count == 0 || length.is_some_and(|length: usize| request.body.len() >= length) {
                    break request;
                }
            };
            let status = if left > 0 { "503 No" } else { "200 OK" };
            if left == 0 {
                let kind = "application/vnd.docker.distribution.events.v1+json";
                assert_eq!(request.header("content-type"), Some(kind));
                kept.lock().unwrap().push(request.json());
            }
            left = left.saturating_sub(1);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, taken)
}

#[tokio::test]
async fn deeds_are_told_in_order_and_again_when_they_are_not_taken() {
    let (url, taken) = listen(2).await;
    let world = world_of(|config| config.webhooks = vec![url]).await;
    let document = world.push_image("a/b", "v1", b"layer").await;
    let digest = sha256(&document);
    assert_eq!(world.send("GET", "/v2/a/b/manifests/v1", &[("User-Agent", "test/1")], b"").await.status, 200);
    let mount = format!("/v2/c/blobs/uploads/?mount={}&from=a/b", sha256(b"layer"));
    assert_eq!(world.send("POST", &mount, &[], b"").await.status, 201);
    assert_eq!(world.delete("/v2/a/b/manifests/v1").await.status, 202);
    let all = async {
        while taken.lock().unwrap().len() < 6 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("all are told");
    let events: Vec<Value> =
        taken.lock().unwrap().iter().map(|envelope| envelope["events"][0].clone()).collect();
    let actions: Vec<&str> = events.iter().filter_map(|event| event["action"].as_str()).collect();
    assert_eq!(actions, ["push", "push", "push", "pull", "mount", "delete"]);
    let push = &events[2]["target"];
    assert_eq!((push["repository"].as_str(), push["tag"].as_str()), (Some("a/b"), Some("v1")));
    assert_eq!(push["digest"], digest);
    assert_eq!(push["size"], document.len());
    assert_eq!(events[3]["request"]["useragent"], "test/1");
    assert_eq!(events[3]["request"]["method"], "GET");
    assert_eq!(events[4]["target"]["fromRepository"], "a/b");
    assert_eq!(events[5]["target"]["tag"], "v1");
    assert!(events.iter().all(|event| event["id"].is_string() && event["timestamp"].is_string()));
}

#[tokio::test]
async fn nobody_waits_for_a_webhook() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = world_of(|config| config.webhooks = vec![format!("http://{gone}/")]).await;
    for round in 0..1100 {
        assert_eq!(world.get(&format!("/v2/a/blobs/{}", sha256(b"x"))).await.status, 404);
        if round % 100 == 0 {
            world.push_blob("a", format!("{round}").as_bytes()).await;
        }
    }
    let mut config = registry_server::Config::new(world.dir.path().join("other"));
    config.webhooks = vec!["ftp://x/".to_owned()];
    assert!(registry_server::Registry::open(config).await.is_err());
}
