//! The client as bytes on a connection, against a server that plays a script.

use std::sync::{Arc, Mutex};

use api::version::CURRENT;
use client::{Client, Connector, Error, Payload, Stream, containers, images, system};
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Plays one answer a connection, in order, and keeps what the client sent.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<String>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(answers: &[&str]) -> Self {
        let script = Self::default();
        script.answers.lock().unwrap().extend(answers.iter().rev().map(|answer| (*answer).to_owned()));
        script
    }

    fn connector(&self) -> Connector {
        let script = self.clone();
        Connector::new("test", move || {
            let script = script.clone();
            async move {
                let (ours, theirs) = UnixStream::pair()?;
                let answer = script.answers.lock().unwrap().pop().expect("an answer");
                tokio::spawn(async move { script.play(theirs, &answer).await });
                Ok(Stream::Unix(ours))
            }
            .boxed()
        })
    }

    fn client(&self) -> Client {
        Client::with_version(self.connector(), CURRENT)
    }

    async fn play(&self, mut stream: UnixStream, answer: &str) {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !complete(&request) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "client closed within its request");
            request.extend_from_slice(&buffer[..count]);
        }
        self.requests.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.starts_with("HTTP/1.1 101") {
            // What the client sends on a connection that was handed over comes back.
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    }

    fn request(&self, at: usize) -> String {
        self.requests.lock().unwrap()[at].clone()
    }
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    body.len() >= length.parse().unwrap()
}

#[tokio::test]
async fn the_version_is_agreed_once() {
    let script = Script::new(&[
        "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nBuilder-Version: 1\r\nContent-Length: 2\r\n\r\nOK",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ]);
    let client = Client::new(script.connector());
    for _ in 0..2 {
        containers::list(&client, &Default::default()).await.unwrap();
    }
    assert!(script.request(0).starts_with("GET /_ping HTTP/1.1\r\n"));
    assert!(script.request(1).starts_with("GET /v1.44/containers/json HTTP/1.1\r\n"));
    assert!(script.request(2).starts_with("GET /v1.44/containers/json HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_server_in_the_process_is_asked_again_on_the_same_connection() {
    let dialled = Arc::new(Mutex::new(0));
    let count = dialled.clone();
    let client = Client::new(Connector::in_process(move || {
        *count.lock().unwrap() += 1;
        async move {
            let (ours, mut theirs) = UnixStream::pair()?;
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                // The third request finds the connection closed.
                for _ in 0..2 {
                    let read = theirs.read(&mut buffer).await.unwrap();
                    assert!(buffer[..read].starts_with(format!("GET /v{CURRENT}/").as_bytes()));
                    theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").await.unwrap();
                }
            });
            Ok(Stream::Unix(ours))
        }
        .boxed()
    }));
    for _ in 0..4 {
        containers::list(&client, &Default::default()).await.unwrap();
    }
    assert_eq!(*dialled.lock().unwrap(), 2);
}

#[tokio::test]
async fn errors_keep_status_message_and_hint() {
    let script = Script::new(&[
        "HTTP/1.1 404 Not Found\r\nContent-Length: 38\r\n\r\n{\"message\":\"no such\",\"hint\":\"pull it\"}",
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ]);
    let client = script.client();
    let error = containers::inspect(&client, "x", false).await.unwrap_err();
    assert!(error.is_not_found() && error.is_from_server());
    assert_eq!((error.to_string().as_str(), error.hint()), ("no such", Some("pull it")));
    assert_eq!(containers::pause(&client, "x").await.unwrap_err().to_string(), "oops");
    let bare = containers::pause(&client, "x").await.unwrap_err().to_string();
    assert_eq!(bare, "request returned 500 Internal Server Error");
    assert!(!containers::stop(&client, "x", &Default::default()).await.unwrap());
}

#[tokio::test]
async fn an_absent_server_is_dockers_sentence() {
    let client = Client::new(Connector::unix("/nonexistent/api.sock"));
    let error = system::ping(&client).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cannot connect to the Docker daemon at unix:///nonexistent/api.sock. Is the docker daemon running?"
    );
}

#[tokio::test]
async fn progress_is_read_line_by_line() {
    let body = "{\"status\":\"a\"}\r\n\r\n{\"status\":\"b\"}\r\n{\"errorDetail\":{\"code\":3,\"message\":\"no\"},\"error\":\"no\"}";
    let script = Script::new(&[&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())]);
    let lines = images::pull(&script.client(), &Default::default(), None).await.unwrap();
    let mut seen = Vec::new();
    let end = lines.drain(|message| seen.push(message.status)).await;
    assert_eq!(seen, ["a", "b"]);
    assert!(matches!(end, Err(Error::Progress { code: 3, .. })));
}

#[tokio::test]
async fn a_cut_answer_is_an_error() {
    let script = Script::new(&["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Id\":"]);
    assert!(containers::inspect(&script.client(), "x", false).await.is_err());
}

#[tokio::test]
async fn a_connection_is_handed_over_with_what_came_early() {
    let script = Script::new(&["HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/vnd.docker.multiplexed-stream\r\n\r\nearly "]);
    let attached = containers::attach(&script.client(), "x", &Default::default()).await.unwrap();
    assert!(attached.multiplexed);
    assert!(script.request(0).to_ascii_lowercase().contains("upgrade: tcp"));
    let (mut read, mut write) = attached.split();
    write.write_all(b"echo").await.unwrap();
    write.shutdown().await.unwrap();
    let mut text = String::new();
    read.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "early echo");
}

#[tokio::test]
async fn archives_are_streamed() {
    let script = Script::new(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for part in ["one ", "two"] {
            sender.send(Ok(part.into())).await.unwrap();
        }
    });
    let options = api::containers::ArchivePutOptions { path: "/a b".into(), ..Default::default() };
    containers::archive_put(&script.client(), "x", &options, Payload::channel(receiver)).await.unwrap();
    let request = script.request(0);
    assert!(
        request
            .starts_with("PUT /v1.51/containers/x/archive?path=/a%20b&noOverwriteDirNonDir=false HTTP/1.1")
    );
    assert!(request.contains("one ") && request.contains("two"), "{request}");
}
