//! `dhow registry serve` as a process, and a client that sends what it is told.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::Host;

/// The type of the manifests that [`push`] makes.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry that is served by the binary under test.
pub struct Registry {
    child: Option<Child>,
    /// `127.0.0.1:port`.
    pub address: String,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Registry {
    /// Serves what is below `root`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(host: &Host, root: &Path, arguments: &[&str]) -> Self {
        Self::spawn(host.command(), root, arguments)
    }

    /// Serves what is below `root`, and writes all that can be logged into a file.
    ///
    /// # Panics
    /// When it does not start.
    pub fn logged(host: &Host, root: &Path, arguments: &[&str], log: &Path) -> Self {
        let mut command = host.command();
        command.arg("--debug").stderr(File::create(log).expect("a file for the log"));
        Self::spawn(command, root, arguments)
    }

    fn spawn(mut command: Command, root: &Path, arguments: &[&str]) -> Self {
        command.args(["registry", "serve", "--addr", "127.0.0.1:0", "--root"]).arg(root).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start the registry");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("read a line");
        let address = line.trim().rsplit('/').next().expect("an address").to_owned();
        Self { child: Some(child), address }
    }

    /// Ends it as a crash does.
    pub fn kill(self) {
        drop(self);
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Sends a request; none when the server went away meanwhile.
    pub fn ask(&self, method: &str, target: &str, kind: &str, body: &[u8]) -> Option<Answer> {
        ask(&self.address, method, target, kind, body)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a request; none when the server went away meanwhile.
pub fn ask(address: &str, method: &str, target: &str, kind: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    // A server that refuses what comes may close before it has read all.
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_off(end + 4);
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let whole = length.and_then(|(_, value)| value.trim().parse().ok()) == Some(body.len());
    let ended = sent.is_ok() && read.is_ok();
    (whole || ended && method == "HEAD").then_some(Answer { status, head, body })
}

/// `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    format!("sha256:{}", sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A manifest of an image of one layer, whose configuration is `{}`.
pub fn manifest(layer: &[u8]) -> String {
    let (config, digest, size) = (digest(b"{}"), digest(layer), layer.len());
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"x/config","digest":"{config}","size":2}},"layers":[{{"mediaType":"x/layer","digest":"{digest}","size":{size}}}]}}"#
    )
}

/// Pushes an image of one layer; none when it was not acknowledged whole.
pub fn push(address: &str, name: &str, tag: &str, layer: &[u8]) -> Option<()> {
    for blob in [b"{}".as_slice(), layer] {
        let target = format!("/v2/{name}/blobs/uploads/?digest={}", digest(blob));
        ask(address, "POST", &target, "", blob).filter(|answer| answer.status == 201)?;
    }
    let target = format!("/v2/{name}/manifests/{tag}");
    let answer = ask(address, "PUT", &target, MANIFEST, manifest(layer).as_bytes());
    answer.filter(|answer| answer.status == 201).map(drop)
}

/// The layer of an image of one layer that a tag leads to.
///
/// # Panics
/// When something is missing or not what it is said to be.
#[track_caller]
pub fn pull(address: &str, name: &str, tag: &str) -> Vec<u8> {
    let get = |target: &str| ask(address, "GET", target, "", b"").expect("an answer");
    let found = get(&format!("/v2/{name}/manifests/{tag}"));
    let document = String::from_utf8_lossy(&found.body).into_owned();
    assert_eq!(found.status, 200, "{name}:{tag}: {document}");
    let mut layer = Vec::new();
    for part in document.split("\"digest\":\"").skip(1) {
        let named = part.split('"').next().expect("a digest");
        let blob = get(&format!("/v2/{name}/blobs/{named}"));
        assert_eq!((blob.status, digest(&blob.body).as_str()), (200, named), "{name}:{tag}");
        layer = blob.body;
    }
    layer
}

/// The tags of a repository.
///
/// # Panics
/// When there is no answer.
#[track_caller]
pub fn tags(address: &str, name: &str) -> Vec<String> {
    let answer = ask(address, "GET", &format!("/v2/{name}/tags/list"), "", b"").expect("an answer");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let Some((_, list)) = text.split_once("\"tags\":[") else { return Vec::new() };
    let list = list.split(']').next().unwrap_or_default();
    list.split(',').map(|tag| tag.trim_matches('"').to_owned()).filter(|tag| !tag.is_empty()).collect()
}
