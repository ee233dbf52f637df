//! A registry that serves in this process, and a client that sends what it is told.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use registry_server::{Config, Registry};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The configuration of images.
pub const CONFIG: &[u8] =
    br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry on loopback, gone with its files when it is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub registry: Arc<Registry>,
    _stop: oneshot::Sender<()>,
}

impl Served {
    pub async fn start(config: Config) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Arc::new(Registry::open(config).await.unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = registry.clone();
        tokio::spawn(async move {
            registry_server::serve(serving, listener, async { drop(stopped.await) }).await;
        });
        Served { address, registry, _stop: stop }
    }
}

/// A registry on an empty directory.
pub struct World {
    pub served: Served,
    pub dir: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the first error.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The address of the next page.
    pub fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let (address, _) = link.strip_prefix('<')?.split_once('>')?;
        Some(address.to_owned())
    }
}

pub async fn world() -> World {
    world_of(|_| {}).await
}

pub async fn world_of(change: impl FnOnce(&mut Config)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("registry"));
    change(&mut config);
    World { served: Served::start(config).await, dir }
}

impl World {
    pub fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("registry")
    }

    /// Sends bytes as they are and reads to the end.
    pub async fn raw(&self, request: &[u8]) -> Vec<u8> {
        raw(self.served.address, request).await
    }

    /// A request of this method with these headers and this body.
    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.served.address, method, target, headers, body).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"").await
    }

    pub async fn head(&self, target: &str) -> Answer {
        self.send("HEAD", target, &[], b"").await
    }

    pub async fn delete(&self, target: &str) -> Answer {
        self.send("DELETE", target, &[], b"").await
    }

    /// Pushes a blob in one request; gives its digest.
    pub async fn push_blob(&self, name: &str, content: &[u8]) -> String {
        let digest = sha256(content);
        let answer =
            self.send("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], content).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        digest
    }

    /// Puts a manifest; gives the answer.
    pub async fn put(&self, name: &str, reference: &str, kind: &str, document: &[u8]) -> Answer {
        let target = format!("/v2/{name}/manifests/{reference}");
        self.send("PUT", &target, &[("Content-Type", kind)], document).await
    }

    /// Pushes an image of one layer under a tag; gives the manifest.
    pub async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Vec<u8> {
        let config = CONFIG;
        self.push_blob(name, config).await;
        self.push_blob(name, layer).await;
        let manifest = manifest(config, layer).to_string().into_bytes();
        let answer = self.put(name, tag, OCI_MANIFEST, &manifest).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        manifest
    }
}

/// A manifest of one layer.
pub fn manifest(config: &[u8], layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": sha256(config), "size": config.len() },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": sha256(layer),
            "size": layer.len(),
        }],
    })
}

pub async fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let request = request.to_vec();
    // The server may answer and close before it has read all.
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&request).await;
        write
    });
    let mut bytes = Vec::new();
    let reading = read.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time");
    drop(sending);
    bytes
}

pub async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let request = [head.as_bytes(), body].concat();
    Answer::parse(&raw(address, &request).await)
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

/// The files below a folder, but locks, by their paths.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = match std::fs::read_dir(&next) {
            // A folder below may be collected meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && next != folder => continue,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found.retain(|path| path != "lock");
    found.sort();
    found
}
