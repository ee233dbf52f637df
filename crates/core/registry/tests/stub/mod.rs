//! A registry on loopback that does what a test tells it, also what no registry should.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer; `cut` closes the connection after so many bytes of the body, and `endless` says the body again and again
/// without a length.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub cut: Option<usize>,
    pub endless: bool,
    /// The pause before each byte of the body.
    pub drip: Option<Duration>,
}

impl Answer {
    pub fn new(status: u16, body: impl AsRef<[u8]>) -> Answer {
        Answer {
            status,
            headers: vec![],
            body: body.as_ref().to_vec(),
            cut: None,
            endless: false,
            drip: None,
        }
    }

    pub fn ok(body: impl AsRef<[u8]>) -> Answer {
        Answer::new(200, body)
    }

    /// The registry's error document.
    pub fn error(status: u16, code: &str, message: &str) -> Answer {
        Answer::new(
            status,
            format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":null}}]}}"#),
        )
    }

    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cut(mut self, after: usize) -> Answer {
        self.cut = Some(after);
        self
    }

    /// A byte at a time, with this pause before each.
    pub fn drip(mut self, pause: Duration) -> Answer {
        self.drip = Some(pause);
        self
    }

    pub fn endless(mut self) -> Answer {
        self.endless = true;
        self
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// Serves until the test's process ends.
pub struct Stub {
    pub host: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    pub fn new(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Stub {
        Stub::on(TcpListener::bind("127.0.0.1:0").unwrap(), handler)
    }

    /// With a listener that was there before, so that the handler can know its own address.
    pub fn on(listener: TcpListener, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Stub {
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log) = (handler.clone(), log.clone());
                std::thread::spawn(move || converse(stream, &handler, &log));
            }
        });
        Stub { host, seen }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests whose path contains `part`.
    pub fn requests_for(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.contains(part)).collect()
    }
}

fn converse(stream: TcpStream, handler: &Arc<Handler>, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream);
    // A client that tries TLS first sends no request; servers answer that in clear.
    let Some(request) = read(&mut reader) else {
        let _ = reader.into_inner().write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        return;
    };
    log.lock().unwrap().push(request.clone());
    let answer = handler(&request);
    // The client may have left.
    let _ = write(reader.into_inner(), &answer);
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: String::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    std::io::Read::read_exact(reader, &mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

fn write(mut stream: TcpStream, answer: &Answer) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status)?;
    if !answer.endless {
        write!(stream, "Content-Length: {}\r\n", answer.body.len())?;
    }
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    if answer.endless {
        loop {
            stream.write_all(&answer.body)?;
        }
    }
    if let Some(pause) = answer.drip {
        for byte in &answer.body {
            std::thread::sleep(pause);
            stream.write_all(&[*byte])?;
        }
        return Ok(());
    }
    stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())])?;
    stream.flush()
}
