//! The server as bytes on a connection, over an engine on an empty directory.

#[path = "http/documents.rs"]
mod documents;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/names.rs"]
mod names;
#[path = "http/slow.rs"]
mod slow;

use std::time::Duration;

use engine::{Config, Engine};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// An engine on directories that go with it.
struct World {
    engine: Engine,
    _dir: tempfile::TempDir,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("root"), dir.path().join("run"), "/proc/self/exe");
    World { engine: Engine::open(config).await.unwrap(), _dir: dir }
}

/// Status line, head and body of an answer on a connection that then closes.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl World {
    fn connect(&self) -> UnixStream {
        server::embedded(self.engine.clone()).unwrap()
    }

    /// Sends bytes as they are and reads to the end.
    async fn raw(&self, request: &[u8]) -> Answer {
        let (mut read, mut write) = self.connect().into_split();
        let request = request.to_vec();
        // The server may answer and close before it has read all.
        let sending = tokio::spawn(async move {
            let _ = write.write_all(&request).await;
            write
        });
        let mut bytes = Vec::new();
        let reading = read.read_to_end(&mut bytes);
        let _ = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("answer in time");
        drop(sending);
        parse(&bytes)
    }

    async fn get(&self, target: &str) -> Answer {
        self.raw(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await
    }

    async fn post(&self, target: &str, body: &str) -> Answer {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw((head + body).as_bytes()).await
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

#[tokio::test]
async fn ping_says_who_we_are() {
    let world = world().await;
    let answer = world.get("/_ping").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
    for header in ["api-version: 1.51", "ostype: linux", "builder-version: 2", "docker-experimental: true"] {
        assert!(answer.head.contains(header), "{header} in {}", answer.head);
    }
    let answer = world.raw(b"HEAD /v1.24/_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn version_and_info_with_and_without_prefix() {
    let world = world().await;
    for target in ["/version", "/v1.24/version", "/v1.51/version"] {
        let answer = world.get(target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.body.contains(r#""ApiVersion":"1.51""#), "{}", answer.body);
    }
    assert_eq!(world.get("/v1.44/info").await.status, 200);
}

#[tokio::test]
async fn versions_out_of_range_are_refused_with_dockers_words() {
    let world = world().await;
    let old = world.get("/v1.12/info").await;
    assert_eq!(old.status, 400);
    assert!(
        old.body.contains("client version 1.12 is too old. Minimum supported API version is 1.24"),
        "{}",
        old.body
    );
    let new = world.get("/v1.99/info").await;
    assert_eq!(new.status, 400);
    assert!(
        new.body.contains("client version 1.99 is too new. Maximum supported API version is 1.51"),
        "{}",
        new.body
    );
}

#[tokio::test]
async fn unknown_pages() {
    let world = world().await;
    for target in ["/nope", "/", "/v1.41/../info", "/v1.41", "/containers//json", "/v1.41//info", "/_ping/x"]
    {
        let answer = world.get(target).await;
        assert_eq!((answer.status, answer.body.trim()), (404, r#"{"message":"page not found"}"#), "{target}");
    }
    assert_eq!(world.post("/info", "").await.status, 404);
}

#[tokio::test]
async fn missing_things() {
    let world = world().await;
    let answer = world.get("/containers/nope/json").await;
    assert_eq!((answer.status, answer.body.trim()), (404, r#"{"message":"No such container: nope"}"#));
    for target in ["/volumes/nope", "/networks/nope", "/images/nope/json", "/exec/nope/json"] {
        assert_eq!(world.get(target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn empty_lists() {
    let world = world().await;
    assert_eq!(world.get("/containers/json?all=1").await.body.trim(), "[]");
    assert_eq!(world.get("/images/json").await.body.trim(), "[]");
    assert_eq!(world.get("/volumes").await.body.trim(), r#"{"Volumes":[],"Warnings":null}"#);
}

#[tokio::test]
async fn swarm_is_refused_as_docker_does() {
    let world = world().await;
    for target in ["/swarm", "/services", "/nodes", "/tasks", "/secrets", "/configs"] {
        let answer = world.get(target).await;
        assert_eq!(answer.status, 503, "{target}");
        assert!(answer.body.contains("This node is not a swarm manager."), "{}", answer.body);
    }
    assert_eq!(world.get("/plugins").await.body.trim(), "[]");
}

#[tokio::test]
async fn bad_bodies_are_bad_requests() {
    let world = world().await;
    let deep = format!(r#"{{"Image":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "{",
        "[]",
        "nul",
        r#"{"Image":1}"#,
        "{} {}",
        "\u{1}",
        r#"{"HostConfig":{"Memory":1e99}}"#,
        deep.as_str(),
    ] {
        let answer = world.post("/containers/create", body).await;
        assert_eq!(answer.status, 400, "{body:.40}: {}", answer.body);
        assert!(answer.body.starts_with(r#"{"message":""#), "{}", answer.body);
    }
    let plain = b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
    let answer = world.raw(plain).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("unsupported Content-Type header"), "{}", answer.body);
}

#[tokio::test]
async fn oversized_documents_are_refused() {
    let world = world().await;
    let answer = world.post("/volumes/create", &format!(r#"{{"Name":"{}"}}"#, "a".repeat(17 << 20))).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn bad_queries_are_bad_requests() {
    let world = world().await;
    for target in [
        "/containers/json?filters=x",
        "/containers/json?filters=%7B%22status%22%3A1%7D",
        "/containers/json?limit=99999999999999999999",
        "/containers/json?all=%",
        "/containers/json?all=%ff",
        "/containers/%00/json",
        "/containers/%zz/json",
        "/containers/x/logs",
        "/containers/x/archive",
        "/images/get",
    ] {
        let answer = world.get(target).await;
        assert_eq!(answer.status, 400, "{target}: {}", answer.body);
    }
    for target in
        ["/containers/x/resize?h=-1&w=1", "/containers/x/resize", "/containers/x/stop?t=x", "/images/create"]
    {
        assert_eq!(world.post(target, "").await.status, 400, "{target}");
    }
}

#[tokio::test]
async fn hostile_heads_do_not_hurt() {
    let world = world().await;
    let many: String = (0..100_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(1 << 20));
    for head in [many.as_str(), long.as_str()] {
        let answer = world.raw(format!("GET /info HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes()).await;
        assert!(matches!(answer.status, 0 | 431), "{}", answer.status);
    }
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let answer = world.raw(bytes).await;
        assert!(matches!(answer.status, 0 | 400 | 505), "{} for {bytes:?}", answer.status);
    }
    assert_eq!(world.get("/_ping").await.status, 200);
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let world = world().await;
    let mut stream = world.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut buffer = [0; 2048];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..count].ends_with(b"OK"));
    }
}

#[tokio::test]
async fn a_tcp_client_may_name_no_directory() {
    let world = world().await;
    let listener = server::Listener::tcp("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.tcp_address().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (activity, mut seen) = tokio::sync::watch::channel(());
    let shutdown = async {
        let _ = stopped.await;
    };
    let limits = server::Limits::default();
    let serving = tokio::spawn(server::serve(
        world.engine.clone(),
        vec![listener],
        Vec::new(),
        limits,
        activity,
        shutdown,
    ));
    for (request, status) in [
        ("POST /build?dhow-context=/etc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n", 403),
        ("GET /info HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n", 403),
        ("GET /info HTTP/1.1\r\nHost: evil.example\r\n", 403),
        ("GET /_ping HTTP/1.1\r\nHost: 127.0.0.1\r\n", 200),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(parse(&bytes).status, status, "{request}");
        seen.changed().await.expect("the server says that it has done something");
    }
    drop(stop);
    tokio::time::timeout(Duration::from_secs(20), serving).await.expect("server ends").unwrap();
}

#[tokio::test]
async fn what_a_build_cannot_do_is_a_clear_error() {
    let world = world().await;
    for (target, status) in [
        ("/build?remote=nonsense://127.0.0.1/x.git", 400),
        ("/build?dhow-context=relative", 400),
        ("/build?buildargs=x", 400),
        ("/build?isolation=hyperv", 400),
        ("/build?securityopt=%5B%22x%22%5D", 400),
        ("/build?t=UPPER", 400),
        ("/build?version=3", 400),
        ("/build?outputs=%5B%7B%7D%5D", 400),
        ("/build?credentialspec=x", 400),
        ("/build/definition", 400),
        ("/images/create?fromSrc=ftp%3A%2F%2Fx%2Fy", 400),
        ("/session", 400),
    ] {
        let answer = world.post(target, "").await;
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_read_to_its_end() {
    let world = world().await;
    let (mut read, mut write) = world.connect().into_split();
    let body = vec![b'x'; 4 << 20];
    let head = format!(
        "POST /images/create?fromSrc=-&repo=a&changes=RUN+x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    // Docker's client sends everything before it reads the answer.
    let sent = async {
        write.write_all(head.as_bytes()).await?;
        write.write_all(&body).await
    };
    tokio::time::timeout(Duration::from_secs(20), sent)
        .await
        .expect("all is taken in time")
        .expect("all is taken");
    let mut bytes = Vec::new();
    read.read_to_end(&mut bytes).await.unwrap();
    let answer = parse(&bytes);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("run is not a valid change command"), "{}", answer.body);
}
