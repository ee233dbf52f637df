//! How much repositories may hold.

use crate::client::{Served, World, files, sha256, world_of};
use registry_server::{Collection, Config, Limit};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn limits(config: &mut Config) {
    let limit = |prefix: Option<&str>, bytes| Limit { prefix: prefix.map(str::to_owned), bytes };
    config.quota = vec![limit(None, 100_000), limit(Some("small"), 1000)];
}

async fn push(world: &World, name: &str, content: &[u8]) -> (u16, String) {
    let target = format!("/v2/{name}/blobs/uploads/?digest={}", sha256(content));
    let answer = world.send("POST", &target, &[], content).await;
    let code = if answer.status == 201 { String::new() } else { answer.code() };
    (answer.status, code)
}

#[tokio::test]
async fn what_is_too_much_is_denied() {
    let world = world_of(limits).await;
    let denied = (403, "DENIED".to_owned());
    assert_eq!(push(&world, "small/a", &[1; 900]).await.0, 201);
    assert_eq!(push(&world, "small/b", &[2; 200]).await, denied, "both are below it");
    assert_eq!(push(&world, "small", &[3; 200]).await, denied);
    assert_eq!(push(&world, "smaller", &[4; 5000]).await.0, 201, "that is another name");
    assert_eq!(push(&world, "large", &vec![5; 200_000]).await, denied, "the registry has a limit as well");
    let mount = format!("/v2/small/b/blobs/uploads/?mount={}&from=smaller", sha256(&[4; 5000]));
    let answer = world.send("POST", &mount, &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"));
    assert!(String::from_utf8_lossy(&answer.body).contains("quota of small is used up: 900 of 1000 bytes"));
    // A body whose length is not said is cut off where the room ends.
    let answer = world.send("POST", "/v2/small/b/blobs/uploads/", &[], b"").await;
    let place = answer.header("location").unwrap();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let chunks = format!("40\r\n{}\r\n", "x".repeat(64)).repeat(4) + "0\r\n\r\n";
    let answer = world.raw((head + &chunks).as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 403"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(world.delete(place).await.status, 204);
    let uploads = files(&world.root()).into_iter().filter(|path| path.starts_with("uploads")).count();
    assert_eq!(uploads, 0);
    assert_eq!(push(&world, "small/b", &[6; 90]).await.0, 201, "what was refused has given its room back");
}

#[tokio::test]
async fn what_goes_makes_room_and_a_restart_counts_again() {
    let world = world_of(limits).await;
    assert_eq!(push(&world, "small", &[1; 900]).await.0, 201);
    let World { served, dir } = world;
    drop(served);
    let mut config = Config::new(dir.path().join("registry"));
    limits(&mut config);
    let world = World { served: Served::start(config).await, dir };
    assert_eq!(push(&world, "small", &[2; 900]).await.0, 403);
    let everything = Collection { grace: Duration::ZERO, untagged: false };
    world.served.registry.collect(everything).await.unwrap();
    assert_eq!(push(&world, "small", &[2; 900]).await.0, 201);
}

#[tokio::test]
async fn who_sends_all_first_hears_why() {
    let world = world_of(limits).await;
    let answer = world.send("POST", "/v2/small/blobs/uploads/", &[], b"").await;
    let place = answer.header("location").unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(world.served.address).await.unwrap();
    let content = vec![0; 8 << 20];
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", content.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content).await.expect("it is taken, and thrown away");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 403");
}

#[tokio::test]
async fn what_broken_connections_leave_counts() {
    let world = world_of(limits).await;
    let place = world.send("POST", "/v2/small/blobs/uploads/", &[], b"").await;
    let place = place.header("location").unwrap().to_owned();
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n");
    let mut stream = tokio::net::TcpStream::connect(world.served.address).await.unwrap();
    stream.write_all(&[head.as_bytes(), &[1; 800]].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    let come = async |world: &World| {
        let answer = world.send("GET", &place, &[], b"").await;
        answer.header("range").unwrap_or_default().to_owned()
    };
    // Whoever is still at it has it to himself.
    let all = async {
        while come(&world).await != "0-799" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("what came is kept");
    assert_eq!(push(&world, "small/a", &[2; 300]).await.0, 403);
    assert_eq!(push(&world, "small/a", &[2; 150]).await.0, 201, "what did not come is given back");
    let World { served, dir } = world;
    drop(served);
    let mut config = Config::new(dir.path().join("registry"));
    limits(&mut config);
    let world = World { served: Served::start(config).await, dir };
    assert_eq!(push(&world, "small/a", &[3; 100]).await.0, 403, "so it does after a restart");
    assert_eq!(world.delete(&place).await.status, 204);
    assert_eq!(push(&world, "small/a", &[3; 100]).await.0, 201);
}
