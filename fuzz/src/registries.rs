//! Registries, from both ends: what a client sends to our server, what a server answers our client, and the administrator's
//! files.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use oci::image::Descriptor;
use oci::{Digest, Reference};
use registry::{Client, Config, Patience, Places};
use registry_server::Registry;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use crate::parts;

/// What lies beside a registry's files and must stay there.
const SECRET: &str = "what the registry must not give away";
const LAST: &[u8] = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// Inputs before a server begins anew, or the disk would fill up.
const LIFE: usize = 2000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A folder in memory, where that is possible.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

struct Server {
    runtime: Runtime,
    registry: Arc<Registry>,
    folder: TempDir,
    left: usize,
}

impl Server {
    fn start() -> Server {
        let (runtime, folder) = (runtime(), folder());
        std::fs::write(folder.path().join("secret"), SECRET).expect("write");
        let mut config = registry_server::Config::new(folder.path().join("registry"));
        config.patience = Duration::from_millis(10);
        let registry = Arc::new(runtime.block_on(Registry::open(config)).expect("a registry"));
        let mut server = Server { runtime, registry, folder, left: LIFE };
        for request in [
            "POST /v2/a/blobs/uploads/?digest=sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
            "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: 184\r\n\r\n{\"schemaVersion\":2,\"config\":{\"mediaType\":\"x/y\",\"size\":2,\"digest\":\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"},\"layers\":[],\"annotations\":{\"what\":\"a seed\"}}",
        ] {
            let answer = server.talk(request.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        }
        server
    }

    /// What is answered on a connection that brings these bytes, and then a request that is the last one: unless it is part of
    /// what came before, which is waited for in vain then.
    fn talk(&mut self, bytes: &[u8]) -> String {
        let registry = self.registry.clone();
        self.runtime.block_on(async move {
            let (near, far) = tokio::io::duplex(1 << 16);
            let serving = registry_server::serve_stream(registry, far);
            let (mut read, mut write) = tokio::io::split(near);
            let sending = async {
                // Who has heard enough does not listen any more.
                let _ = write.write_all(bytes).await;
                let _ = write.write_all(LAST).await;
            };
            let mut answer = Vec::new();
            let (.., read) = tokio::join!(serving, sending, read.read_to_end(&mut answer));
            let _ = read;
            String::from_utf8_lossy(&answer).into_owned()
        })
    }
}

/// Bytes on a connection to the registry server: nothing is the server's own fault, and nothing outside of its root is read
/// or written.
pub fn server(data: &[u8]) {
    static SERVER: Mutex<Option<Server>> = Mutex::new(None);
    let mut slot = lock(&SERVER);
    if slot.as_ref().is_none_or(|server| server.left == 0) {
        *slot = Some(Server::start());
    }
    let Some(server) = slot.as_mut() else { return };
    server.left -= 1;
    let answer = server.talk(data);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{answer}");
    for own in ["HTTP/1.1 500 ", "HTTP/1.0 500 "] {
        assert!(!answer.contains(own), "{answer}");
    }
    assert!(!answer.contains(SECRET), "{answer}");
    let beside = std::fs::read_dir(server.folder.path()).expect("the folder").count();
    assert_eq!(beside, 2, "the registry and the secret");
}

/// A mirror that answers by what it is told, and a registry that has nothing.
struct Answers {
    runtime: Runtime,
    client: Client,
    told: Arc<Mutex<Vec<Vec<u8>>>>,
    _folder: TempDir,
}

/// Listens until the process ends; answers each connection once.
fn listen(answer: impl Fn() -> Vec<u8> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if read_head(&stream).is_some() {
                let _ = stream.write_all(&answer());
            }
        }
    });
    port
}

fn read_head(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if line.trim().is_empty() {
            return Some(());
        }
    }
}

impl Answers {
    fn start() -> Answers {
        let (runtime, folder) = (runtime(), folder());
        let told: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (own, place) = (told.clone(), Arc::new(AtomicU16::new(0)));
        let known = place.clone();
        let port = listen(move || {
            let answer = lock(&own).pop().unwrap_or_default();
            // Where it leads, it leads back here.
            let here = format!("//127.0.0.1:{}/", known.load(Ordering::Relaxed));
            let text: String = answer.iter().map(|byte| char::from(*byte)).collect();
            text.replace("//", &here).chars().map(|character| character as u8).collect()
        });
        place.store(port, Ordering::Relaxed);
        let home = listen(|| b"HTTP/1.1 404 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec());
        let mirrors: String =
            (0..3).map(|number| format!("[host.\"http://127.0.0.1:{port}/m{number}\"]\n")).collect();
        let hosts = folder.path().join("dhow/certs.d/fuzz.test");
        std::fs::create_dir_all(&hosts).expect("a folder");
        std::fs::write(hosts.join("hosts.toml"), format!("server = \"http://127.0.0.1:{home}\"\n{mirrors}"))
            .expect("write");
        let patience = Patience {
            connect: Duration::from_secs(2),
            silence: Duration::from_millis(300),
            document: Duration::from_millis(600),
            pause: Duration::from_millis(1),
        };
        let client =
            Client::new(Config { places: Places::below(folder.path()), patience, ..Config::default() });
        Answers { runtime, client, told, _folder: folder }
    }
}

/// Answers of a registry, separated by NUL: what comes of them is what was asked for by its digest, or an error.
pub fn answers(data: &[u8]) {
    static ANSWERS: OnceLock<Mutex<Answers>> = OnceLock::new();
    let answers = lock(ANSWERS.get_or_init(|| Mutex::new(Answers::start())));
    let mut told: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    told.reverse();
    *lock(&answers.told) = told;
    let reference = Reference::parse("fuzz.test/app:1").expect("a reference");
    answers.runtime.block_on(async {
        let repository = answers.client.repository(&reference, None);
        if let Ok((descriptor, bytes)) = repository.resolve().await {
            assert!(descriptor.digest.matches(&bytes));
            let _ = repository.member(&descriptor).await;
        }
        let wanted = Descriptor::new("x/y", Digest::sha256(b"blob"), 4);
        let mut blob = repository.blob(&wanted);
        let mut content = Vec::new();
        let end = loop {
            match blob.chunk().await {
                Ok(Some(bytes)) => content.extend_from_slice(&bytes),
                other => break other,
            }
        };
        assert!(content.len() <= 4 && (end.is_err() || content == b"blob"), "{content:?}");
    });
}

/// `hosts.toml`, `registries.conf` and `daemon.json`: each host that is asked has an address.
pub fn settings(data: &[u8]) {
    static FOLDER: OnceLock<Mutex<(TempDir, [PathBuf; 3])>> = OnceLock::new();
    let Some(texts) = parts::<3>(data) else { return };
    let make = || {
        let folder = folder();
        let names = ["dhow/certs.d/x.test/hosts.toml", "containers/registries.conf", "docker/daemon.json"];
        let paths = names.map(|name| folder.path().join(name));
        for parent in paths.iter().filter_map(|path| path.parent()) {
            std::fs::create_dir_all(parent).expect("a folder");
        }
        Mutex::new((folder, paths))
    };
    let place = lock(FOLDER.get_or_init(make));
    for (path, text) in place.1.iter().zip(texts) {
        write(path, text);
    }
    let client = Client::new(Config { places: Places::below(place.0.path()), ..Config::default() });
    for name in ["x.test/app", "x.test:5000/team/app", "docker.io/library/app"] {
        let reference = Reference::parse(name).expect("a reference");
        for address in client.addresses(&reference).unwrap_or_default() {
            assert!(address.starts_with("http://") || address.starts_with("https://"), "{address}");
        }
    }
    let _ = (client.mirrors(), client.insecure());
}

/// Without a text there is no file.
fn write(path: &Path, text: &str) {
    match text {
        "" => drop(std::fs::remove_file(path)),
        text => std::fs::write(path, text).expect("write"),
    }
}
