//! Clients that take all the time and all the connections that there are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{World, parse, world};

/// What a test waits for at most.
const ALL: Duration = Duration::from_secs(20);
/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(20);

/// A server with these limits, until the test ends.
async fn serve(world: &World, limits: Limits) -> SocketAddr {
    let listener = server::Listener::tcp("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.tcp_address().unwrap();
    let (activity, _) = tokio::sync::watch::channel(());
    let never = std::future::pending();
    tokio::spawn(server::serve(world.engine.clone(), vec![listener], Vec::new(), limits, activity, never));
    address
}

/// Sends bytes one by one until the server has enough of it; what it said.
async fn drip(address: SocketAddr, first: &str, then: &str) -> Vec<u8> {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    write.write_all(first.as_bytes()).await.unwrap();
    let then = then.to_owned();
    let dripping = tokio::spawn(async move {
        for byte in then.bytes().cycle() {
            tokio::time::sleep(DRIP).await;
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    });
    let mut answer = Vec::new();
    // A connection that is reset has ended too.
    let _ = tokio::time::timeout(ALL, read.read_to_end(&mut answer)).await.expect("it ends");
    dripping.abort();
    answer
}

#[tokio::test]
async fn who_sends_a_byte_at_a_time_is_cut_off() {
    let world = world().await;
    let patience = Duration::from_millis(300);
    let address = serve(&world, Limits { patience, ..Limits::default() }).await;
    let began = Instant::now();
    drip(address, "", "GET /").await;
    drip(address, "GET /_ping HTTP/1.1\r\n", "X-Header: value\r\n").await;
    let head = "POST /containers/create HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
    let answer = drip(address, &format!("{head}Content-Length: 10000\r\n\r\n{{"), " ").await;
    assert_eq!(parse(&answer).status, 408);
    let answer = drip(address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n").await;
    assert_eq!(parse(&answer).status, 408);
    assert!(began.elapsed() >= 4 * patience, "{:?}", began.elapsed());
}

async fn ping(stream: &mut TcpStream) {
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"OK") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn connections_wait_for_a_place() {
    let world = world().await;
    let limits = Limits { connections: 4, ..Limits::default() };
    let address = serve(&world, limits).await;
    let mut served = Vec::new();
    for _ in 0..limits.connections {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ping(&mut stream).await;
        served.push(stream);
    }
    let mut next = TcpStream::connect(address).await.unwrap();
    let waiting = ping(&mut next);
    tokio::pin!(waiting);
    // The server answers those that it has, and not this one.
    tokio::select! {
        () = &mut waiting => panic!("more connections than places are served"),
        () = async { for stream in &mut served { ping(stream).await } } => {}
    }
    served.pop();
    tokio::time::timeout(ALL, waiting).await.expect("it gets the place that is free");
}

#[tokio::test]
async fn idle_connections_make_room() {
    let world = world().await;
    let patience = Duration::from_millis(300);
    let address = serve(&world, Limits { patience, connections: 8 }).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut last = TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(ALL, ping(&mut last)).await.expect("those before it are sent away");
}
