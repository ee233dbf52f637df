//! An object store on loopback that speaks as much S3 as a cache needs, and believes no signature unseen.
//!
//! Requests must be signed in their query (Signature Version 4) by the one key that there is; a bucket is the first part of
//! the path. Objects are held in memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

/// The only key, its secret and the region.
pub const KEY: &str = "AKIDEXAMPLE";
/// The secret of [`KEY`].
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-test-1";

/// The store; its thread ends with the process.
pub struct ObjectStore {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// Requests as `PUT /bucket/key 200`.
    log: Vec<String>,
    /// So many requests are answered by 503.
    unwell: u32,
}

impl ObjectStore {
    /// Starts it in the network of this thread.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { port, state }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The names of all objects, as `bucket/key`.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.state).objects.keys().cloned().collect()
    }

    /// The requests since the last time, as `PUT /bucket/key 200`.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).log)
    }

    /// Answers the next `count` requests by 503.
    pub fn fall_ill(&self, count: u32) {
        lock(&self.state).unwell = count;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Request {
    method: String,
    path: String,
    query: String,
    host: String,
    body: Vec<u8>,
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut host, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "host" => host = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), host, body })
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let (status, body) = answer(&request, state);
        lock(state).log.push(format!("{} {} {status}", request.method, request.path));
        let length = body.len();
        let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\n\r\n");
        let body = if request.method == "HEAD" { Vec::new() } else { body };
        let mut stream = stream;
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, state: &Mutex<State>) -> (u16, Vec<u8>) {
    let error = |status, code: &str, message: &str| {
        let text =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
        (status, text.into_bytes())
    };
    let mut state = lock(state);
    if state.unwell > 0 {
        state.unwell -= 1;
        return error(503, "SlowDown", "please reduce your request rate");
    }
    if !is_signed(request) {
        return error(403, "SignatureDoesNotMatch", "the signature we calculated is another");
    }
    let key = request.path.trim_start_matches('/').replace("%3A", ":");
    match request.method.as_str() {
        "PUT" => {
            state.objects.insert(key, request.body.clone());
            (200, Vec::new())
        }
        "GET" | "HEAD" => match state.objects.get(&key) {
            Some(bytes) => (200, bytes.clone()),
            None => error(404, "NoSuchKey", "the key does not exist"),
        },
        _ => error(405, "MethodNotAllowed", "not here"),
    }
}

/// Whether the query has the signature that we calculate ourselves.
fn is_signed(request: &Request) -> bool {
    let mut pairs: Vec<(&str, &str)> =
        request.query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let value = |pairs: &[(&str, &str)], name: &str| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()).unwrap_or_default()
    };
    let signature = value(&pairs, "X-Amz-Signature");
    pairs.retain(|(key, _)| *key != "X-Amz-Signature");
    pairs.sort_unstable();
    let query: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let date = value(&pairs, "X-Amz-Date");
    let Some(day) = date.get(..8) else { return false };
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    if value(&pairs, "X-Amz-Credential") != format!("{KEY}/{scope}").replace('/', "%2F") {
        return false;
    }
    let canonical = format!(
        "{}\n{}\n{}\nhost:{}\n\nhost\nUNSIGNED-PAYLOAD",
        request.method,
        request.path,
        query.join("&"),
        request.host
    );
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = hmac(format!("AWS4{SECRET}").as_bytes(), day);
    for part in [REGION, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    hex(&hmac(&key, &text)) == signature
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0u8; 64];
    let hashed = Sha256::digest(key);
    let key = if key.len() > block.len() { &hashed[..] } else { key };
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_calculated() {
        assert_eq!(
            hex(&hmac(b"key", "The quick brown fox jumps over the lazy dog")),
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
        let query = "X-Amz-Credential=AKIDEXAMPLE%2F20240101%2Feu-test-1%2Fs3%2Faws4_request&X-Amz-Date=20240101T000000Z";
        let request = Request {
            method: "GET".into(),
            path: "/b/k".into(),
            query: format!("{query}&X-Amz-Signature=00"),
            host: "h".into(),
            body: Vec::new(),
        };
        assert!(!is_signed(&request), "any signature will not do");
    }
}
