//! An object store on loopback that speaks as much S3 as a cache needs, and believes no signature unseen.
//!
//! Requests must be signed in their query (Signature Version 4) by the one key that there is; a bucket is the first part of
//! the path. Objects are held in memory. Lists come in small pages, so that whoever asks has to ask again.

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
    /// Parts of objects that are not complete, by upload.
    parts: BTreeMap<String, BTreeMap<u16, Vec<u8>>>,
    /// How many uploads were begun: each has a name of its own.
    uploads: u64,
    /// Requests as `PUT /bucket/key 200`.
    log: Vec<String>,
    /// So many requests are answered by 503.
    unwell: u32,
    /// Nobody is told when an object was written.
    timeless: bool,
    /// Nothing is taken of objects in parts, and nothing forgotten.
    no_parts: bool,
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

    /// Does not say any more that objects were written long ago, for whom that makes a difference.
    pub fn forget_times(&self) {
        lock(&self.state).timeless = true;
    }

    /// How many objects in parts are neither complete nor aborted.
    pub fn unfinished(&self) -> usize {
        lock(&self.state).parts.len()
    }

    /// Answers whatever is wanted of an object in parts, once it was begun, by 503; or does so no more.
    pub fn refuse_parts(&self, refuse: bool) {
        lock(&self.state).no_parts = refuse;
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
    range: Option<(usize, usize)>,
    body: Vec<u8>,
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut host, mut length, mut range) = (String::new(), 0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "host" => host = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            "range" => {
                let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
                range = Some((first.parse().ok()?, last.parse().ok()?));
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), host, range, body })
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let (status, body) = answer(&request, state);
        lock(state).log.push(format!("{} {} {status}", request.method, request.path));
        let length = body.len();
        let modified = match lock(state).timeless {
            true => "etag: \"tag\"",
            false => "last-modified: Wed, 21 Oct 2015 07:28:00 GMT\r\netag: \"tag\"",
        };
        let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\n{modified}\r\n\r\n");
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
    let key = request.path.trim_start_matches('/').replace("%3A", ":").replace("%2B", "+");
    let upload = parameter(request, "uploadId");
    match request.method.as_str() {
        "GET" if parameter(request, "list-type").is_some() => list(request, &key, &state.objects),
        "POST" | "PUT" | "DELETE" if upload.is_some() || parameter(request, "uploads").is_some() => {
            multipart(request, &key, upload, &mut state)
        }
        "DELETE" => {
            state.objects.remove(&key);
            (204, Vec::new())
        }
        "PUT" => {
            state.objects.insert(key, request.body.clone());
            (200, Vec::new())
        }
        "GET" | "HEAD" => match state.objects.get(&key) {
            Some(bytes) => match request.range {
                Some((first, last)) if first < bytes.len() => {
                    (206, bytes[first..bytes.len().min(last + 1)].to_vec())
                }
                Some(_) => error(416, "InvalidRange", "there are no such bytes"),
                None => (200, bytes.clone()),
            },
            None => error(404, "NoSuchKey", "the key does not exist"),
        },
        _ => error(405, "MethodNotAllowed", "not here"),
    }
}

/// A parameter of the query, decoded as far as keys need it.
fn parameter(request: &Request, name: &str) -> Option<String> {
    let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
    Some(value.replace("%2F", "/").replace("%3A", ":").replace("%2B", "+"))
}

/// `ListObjectsV2`, a few entries at a time.
fn list(request: &Request, bucket: &str, objects: &BTreeMap<String, Vec<u8>>) -> (u16, Vec<u8>) {
    const PAGE: usize = 3;
    let bucket = format!("{}/", bucket.trim_end_matches('/'));
    let value = |name: &str| parameter(request, name).unwrap_or_default();
    let prefix = value("prefix");
    let after = if value("continuation-token").is_empty() {
        value("start-after")
    } else {
        value("continuation-token")
    };
    let mut entries: Vec<(String, String)> = Vec::new();
    for (key, bytes) in objects {
        let Some(key) = key.strip_prefix(&bucket).filter(|key| key.starts_with(&prefix)) else { continue };
        let folder = key[prefix.len()..].find('/').filter(|_| value("delimiter") == "/");
        let (name, text) = match folder {
            Some(end) => {
                let folder = &key[..=prefix.len() + end];
                (folder, format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"))
            }
            None => {
                let size = bytes.len();
                let time = "2015-10-21T07:28:00.000Z";
                let text = format!("<Key>{key}</Key><Size>{size}</Size><LastModified>{time}</LastModified>");
                (key, format!("<Contents>{text}</Contents>"))
            }
        };
        if name > after.as_str() && entries.last().is_none_or(|(last, _)| last != name) {
            entries.push((name.to_owned(), text));
        }
    }
    let more = entries.len() > PAGE;
    entries.truncate(PAGE);
    let next = entries.last().filter(|_| more).map(|(name, _)| name.as_str());
    let next = next.map(|next| format!("<NextContinuationToken>{next}</NextContinuationToken>"));
    let items: String = entries.iter().map(|(_, text)| text.as_str()).collect();
    let next = next.unwrap_or_default();
    let document = format!(
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"{NAMESPACE}\"><IsTruncated>{more}</IsTruncated>{next}{items}</ListBucketResult>"
    );
    (200, document.into_bytes())
}

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Objects in parts.
fn multipart(request: &Request, key: &str, upload: Option<String>, state: &mut State) -> (u16, Vec<u8>) {
    let Some(upload) = upload else {
        let upload = format!("upload-{}", state.uploads);
        state.uploads += 1;
        state.parts.insert(upload.clone(), BTreeMap::new());
        let text = format!("<Bucket>b</Bucket><Key>k</Key><UploadId>{upload}</UploadId>");
        let document = format!(
            "<?xml version=\"1.0\"?><InitiateMultipartUploadResult xmlns=\"{NAMESPACE}\">{text}</InitiateMultipartUploadResult>"
        );
        return (200, document.into_bytes());
    };
    if state.no_parts {
        return (503, Vec::new());
    }
    match (request.method.as_str(), parameter(request, "partNumber")) {
        ("PUT", Some(number)) => {
            let parts = state.parts.entry(upload).or_default();
            parts.insert(number.parse().unwrap_or(0), request.body.clone());
            (200, Vec::new())
        }
        ("DELETE", _) => {
            state.parts.remove(&upload);
            (204, Vec::new())
        }
        _ => {
            let parts = state.parts.remove(&upload).unwrap_or_default();
            state.objects.insert(key.to_owned(), parts.into_values().flatten().collect());
            let document = format!(
                "<?xml version=\"1.0\"?><CompleteMultipartUploadResult xmlns=\"{NAMESPACE}\"><ETag>x</ETag></CompleteMultipartUploadResult>"
            );
            (200, document.into_bytes())
        }
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
            range: None,
            body: Vec::new(),
        };
        assert!(!is_signed(&request), "any signature will not do");
    }
}
