//! Every route with names, queries and bodies that no client sends: an answer that Docker documents, never a panic, a hang
//! or a server error, and the server lives on.

use std::time::Duration;

use http::Method;
use server::routes::TABLE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{World, world};

/// What takes the place of a name, as it stands in the path.
const NAMES: &[&str] = &[
    "..",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "../../etc/passwd",
    "a%00b",
    "%ff%fe",
    "%0d%0aX-Evil:%201",
    "%zz",
    "%",
    "sha256:%20",
    "%E2%80%AE",
    "-rf",
    "{}",
];

const QUERIES: &[&str] = &[
    "?filters=%7B",
    "?filters=%5B%5B%5B%5B",
    "?limit=99999999999999999999&t=-99999999999999999999&h=-1&w=-1&n=1e999&all=maybe&force=2&follow=x&stream=x",
    "?path=%00&name=..%2fx&repo=%00&tag=%00&fromImage=..%2f..&signal=-1&condition=never&since=soon&until=later",
    "?a=%ff",
];

fn bodies() -> Vec<Vec<u8>> {
    let deep = |open: &str, close: &str| (open.repeat(100_000) + &close.repeat(100_000)).into_bytes();
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "null",
        "[]",
        "0",
        "\"text\"",
        "{",
        "{\"Image\":",
        "{\"Image\":1,\"Name\":[],\"Cmd\":{},\"Container\":[],\"Force\":\"x\"}",
        "{\"Image\":\"\\u0000\",\"Name\":\"\\u0000\",\"Cmd\":[\"\\u0000\"],\"Container\":\"\\u0000\"}",
        "{\"Image\":\"../../x\",\"Name\":\"../../x\",\"Container\":\"../../x\",\"Driver\":\"../../x\"}",
        "{\"Image\":\"x\",\"HostConfig\":{\"Memory\":-9223372036854775808,\"NanoCpus\":9223372036854775807,\"PidsLimit\":-99}}",
        "{\"Image\":\"x\",\"HostConfig\":{\"Memory\":1e400}}",
        "{\"Image\":\"x\",\"StopTimeout\":99999999999999999999}",
        "{\"Image\":\"x\",\"Image\":\"y\",\"HostConfig\":{},\"HostConfig\":[]}",
        "{\"Image\":\"\\ud800\"}",
        "\u{feff}{}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(b"{\"Image\":\"\xff\xfe\"}".to_vec());
    bodies.push(deep("[", "]"));
    bodies.push(deep("{\"HostConfig\":", "}"));
    bodies.push(vec![0; 4096]);
    bodies
}

impl World {
    /// Sends a request and reads as far as the status: some answers go on for as long as the client listens.
    async fn status(&self, method: &Method, target: &str, headers: &str, body: &[u8]) -> u16 {
        let (mut read, mut write) = self.connect().into_split();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let request = [head.as_bytes(), body].concat();
        let sending = tokio::spawn(async move {
            // The server may have answered and closed.
            let _ = write.write_all(&request).await;
            write
        });
        let mut line = Vec::new();
        let reading = async {
            while !line.contains(&b'\n') {
                match read.read_u8().await {
                    Ok(byte) => line.push(byte),
                    Err(_) => break,
                }
            }
        };
        let case =
            || format!("{method} {target} {:?}", String::from_utf8_lossy(&body[..body.len().min(200)]));
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .unwrap_or_else(|_| panic!("hangs: {}", case()));
        sending.abort();
        let text = String::from_utf8_lossy(&line);
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        status.unwrap_or_else(|| panic!("{text:?} is no answer: {}", case()))
    }

    async fn expect_refusal(&self, method: &Method, target: &str, body: &[u8]) {
        let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let status = self.status(method, target, &headers, body).await;
        // 501 and 503 are what Docker says for what it does not do, and for a swarm that is none.
        assert!(
            status < 500 || matches!(status, 501 | 503),
            "{status}: {method} {target} {:?}",
            String::from_utf8_lossy(&body[..body.len().min(200)])
        );
    }
}

/// Without a query that ends them these tell what happens for as long as somebody listens.
fn is_endless(path: &str) -> bool {
    path == "/events"
}

/// A name of nothing. A registry would be asked for one that it may have: there, it is not even a name.
fn unknown(path: &str) -> &'static str {
    if path.starts_with("/distribution/") { "NOTHING" } else { "nothing" }
}

#[tokio::test]
async fn hostile_names_and_queries_on_every_route() {
    let world = world().await;
    for route in TABLE {
        if route.path.contains("{}") {
            for name in NAMES {
                let target = format!("/v1.41{}", route.path.replace("{}", name));
                world.expect_refusal(&route.method, &target, b"").await;
            }
        }
        for query in QUERIES.iter().filter(|_| !is_endless(route.path)) {
            let target = format!("{}{query}", route.path.replace("{}", unknown(route.path)));
            world.expect_refusal(&route.method, &target, b"").await;
        }
    }
    assert_eq!(world.get("/_ping").await.status, 200);
}

#[tokio::test]
async fn hostile_bodies_on_every_route_that_takes_one() {
    let world = world().await;
    let bodies = bodies();
    for route in TABLE.iter().filter(|route| matches!(route.method, Method::POST | Method::PUT)) {
        for body in &bodies {
            world.expect_refusal(&route.method, &route.path.replace("{}", unknown(route.path)), body).await;
        }
    }
    assert_eq!(world.get("/_ping").await.status, 200);
}

#[tokio::test]
async fn bodies_that_are_not_what_their_head_says() {
    let world = world().await;
    let create = "/containers/create";
    // A gigabyte that never comes is refused by its announcement.
    let status = world.status(&Method::POST, create, "Content-Length: 1073741824\r\n", b"{").await;
    assert!(matches!(status, 400 | 413), "{status}");
    // Two ways to say where the body ends: whoever stands before us may have read the other one.
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let smuggled = b"0\r\n\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let status = world.status(&Method::POST, create, both, smuggled).await;
    assert_eq!(status, 400);
    for chunks in [&b"-1\r\n"[..], b"zz\r\n", b"fffffffffffffffff\r\n{"] {
        let status = world.status(&Method::POST, create, "Transfer-Encoding: chunked\r\n", chunks).await;
        assert!((400..500).contains(&status), "{status} for {chunks:?}");
    }
    assert_eq!(world.get("/_ping").await.status, 200);
}
