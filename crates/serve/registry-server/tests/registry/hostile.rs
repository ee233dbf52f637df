//! Clients that mean no good (THREATS: path traversal, smuggling, slow ones, lies about lengths).

use crate::client::{Answer, files, sha256, world, world_of};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn no_path_leaves_the_root() {
    let world = world().await;
    std::fs::write(world.dir.path().join("secret"), "secret").unwrap();
    for target in [
        "/v2/../../secret",
        "/v2/..%2f..%2fsecret/tags/list",
        "/v2/%2e%2e/%2e%2e/secret/tags/list",
        "/v2/a/manifests/..%2f..%2f..%2f..%2fsecret",
        "/v2/a/blobs/..%2f..%2fsecret",
        "/v2/a/blobs/sha256:..%2f..%2f..%2f..%2fsecret",
        "/v2/a/referrers/sha256:..%2f..",
        "/v2/a/blobs/uploads/..%2f..%2fsecret",
        "/v2/a%00b/tags/list",
        "/v2/a\\..\\b/tags/list",
        "//v2/a/tags/list",
    ] {
        for method in ["GET", "DELETE", "PUT", "PATCH"] {
            let answer = world.send(method, target, &[], b"").await;
            assert!((400..=405).contains(&answer.status), "{method} {target}: {answer:?}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("secret\n"), "{method} {target}");
        }
    }
    assert_eq!(files(&world.root()), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(world.dir.path().join("secret")).unwrap(), "secret");
}

#[tokio::test]
async fn two_lengths_are_one_request_or_none() {
    let world = world().await;
    // If the length counted, what follows the chunks would be a second request.
    let smuggled = "GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n";
    let body = format!("0\r\n\r\n{smuggled}");
    let request = format!(
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(world.served.address, request.as_bytes()).await;
    assert!(!answer.contains("repositories"), "{answer}");
    for headers in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: identity, x\r\n",
    ] {
        let request = format!("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n{headers}\r\nabcd");
        let answer = exchange(world.served.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
    }
}

/// What comes back until the server closes the connection, or has been silent for a moment.
async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count)) = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer)).await
    {
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn heads_are_bounded() {
    let world = world().await;
    let many = "X-Header: x\r\n".repeat(100_000);
    let long = format!("X-Header: {}\r\n", "x".repeat(1 << 20));
    for headers in [many, long] {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let answer = Answer::parse(&world.raw(request.as_bytes()).await);
        assert_eq!(answer.status, 431);
    }
    let answer = world.get(&format!("/v2/{}/tags/list", "a/".repeat(30_000))).await;
    assert!([400, 414, 431].contains(&answer.status), "{}", answer.status);
}

#[tokio::test]
async fn who_is_slow_is_cut_off() {
    let world = world_of(|config| config.patience = Duration::from_millis(300)).await;
    let content = vec![1; 64 << 20];
    let digest = sha256(&content);
    let answer = world.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], &content).await;
    assert_eq!(answer.status, 201);
    let connect = async || TcpStream::connect(world.served.address).await.unwrap();
    // A head that does not end.
    let mut head = connect().await;
    head.write_all(b"GET /v2/ HTTP/1.1\r\nHost:").await.unwrap();
    // A body that does not come.
    let mut body = connect().await;
    body.write_all(b"POST /v2/a/blobs/uploads/?digest=").await.unwrap();
    let rest = format!("{} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", sha256(b"x"));
    body.write_all(rest.as_bytes()).await.unwrap();
    // An answer that nobody reads.
    let mut answer = connect().await;
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    answer.write_all(get.as_bytes()).await.unwrap();
    for stream in [&mut head, &mut body] {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the connection is still open");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), answer.read_to_end(&mut rest)).await;
    assert!(read.is_ok() && rest.len() < content.len(), "{} bytes came", rest.len());
    let left: Vec<String> =
        files(&world.root()).into_iter().filter(|path| path.starts_with("uploads")).collect();
    assert_eq!(left, Vec::<String>::new(), "an upload of one request has no second chance");
}

#[tokio::test]
async fn a_client_that_leaves_lets_an_upload_be_resumed() {
    let world = world().await;
    let answer = world.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let place = answer.header("location").unwrap().to_owned();
    let mut stream = TcpStream::connect(world.served.address).await.unwrap();
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123");
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    let reached = async {
        while world.get(&place).await.header("range") != Some("0-3") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("what has come counts");
    let digest = sha256(b"012345");
    let last = [("Content-Range", "4-5")];
    let finish = async {
        loop {
            let answer = world.send("PUT", &format!("{place}?digest={digest}"), &last, b"45").await;
            // The request that broke off may not have ended yet.
            if answer.status != 409 {
                return answer.status;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), finish).await.unwrap(), 201);
}

#[tokio::test]
async fn connections_are_bounded() {
    let world = world_of(|config| config.connections = 2).await;
    let open = async || {
        let mut stream = TcpStream::connect(world.served.address).await.unwrap();
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream
    };
    let answered = async |stream: &mut TcpStream, patience| {
        let mut head = [0; 12];
        let read = tokio::time::timeout(patience, stream.read_exact(&mut head)).await;
        read.is_ok_and(|read| read.is_ok() && &head == b"HTTP/1.1 200")
    };
    let (mut first, mut second) = (open().await, open().await);
    for stream in [&mut first, &mut second] {
        assert!(answered(stream, Duration::from_secs(20)).await);
    }
    let mut third = open().await;
    assert!(!answered(&mut third, Duration::from_millis(300)).await, "there are two already");
    drop(first);
    assert!(answered(&mut third, Duration::from_secs(20)).await);
}
