//! Pulls at the same time: each layer comes once, whoever comes second waits for it, and goes on with it if need be.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::auth::AuthConfig;
use api::images::PullOptions;
use store::{Batch, Fetch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::pull::Content;
use super::*;

/// A registry that gives the first half of each layer, and the rest when it is opened.
struct Gated {
    port: u16,
    /// What was asked for of layers: digest and first byte.
    asked: Arc<Mutex<Vec<(String, u64)>>>,
    open: watch::Sender<bool>,
}

impl Gated {
    async fn start(content: Content) -> Gated {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, (open, opened)) = (Arc::<Mutex<Vec<_>>>::default(), watch::channel(false));
        let (own, content) = (asked.clone(), Arc::new(content));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, content.clone(), own.clone(), opened.clone()));
            }
        });
        Gated { port, asked, open }
    }

    fn asked(&self) -> Vec<(String, u64)> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked
    }

    fn request(&self, tag: &str) -> PullOptions {
        let from_image = format!("127.0.0.1:{}/app", self.port);
        PullOptions { from_image, tag: tag.into(), ..PullOptions::default() }
    }

    /// Pulls, and collects what is told.
    fn pull(&self, engine: &Engine, tag: &str) -> Pulling {
        let (engine, options) = (engine.clone(), self.request(tag));
        let (sender, mut receiver) = mpsc::channel(64);
        let told = Arc::<Mutex<Vec<JsonMessage>>>::default();
        let own = told.clone();
        let work = tokio::spawn(async move {
            let listen = async {
                while let Some(message) = receiver.recv().await {
                    own.lock().unwrap().push(message);
                }
            };
            let pulled = crate::images::pull(&engine, options, AuthConfig::default(), sender);
            tokio::join!(pulled, listen).0?.image().map(|image| image.id)
        });
        Pulling { work, told }
    }
}

struct Pulling {
    work: JoinHandle<Result<Digest>>,
    told: Arc<Mutex<Vec<JsonMessage>>>,
}

impl Pulling {
    /// How many layers were said to be at this status.
    fn told(&self, status: &str) -> usize {
        let told = self.told.lock().unwrap();
        let ids = told.iter().filter(|message| message.status == status).map(|message| message.id.clone());
        ids.collect::<std::collections::BTreeSet<_>>().len()
    }

    async fn end(self) -> Digest {
        tokio::time::timeout(Duration::from_secs(60), self.work).await.expect("it ends").unwrap().unwrap()
    }
}

async fn answer(
    mut stream: tokio::net::TcpStream,
    content: Arc<Content>,
    asked: Arc<Mutex<Vec<(String, u64)>>>,
    mut open: watch::Receiver<bool>,
) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) if buffer[0] != 0x16 => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request).to_lowercase();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let from = text.split_once("range: bytes=").and_then(|(_, rest)| rest.split('-').next()?.parse().ok());
    let from: u64 = from.unwrap_or(0);
    let nothing = ("application/json".to_owned(), b"{}".to_vec());
    let (kind, bytes) = content.get(path).unwrap_or(&nothing);
    let is_layer = kind == media_types::OCI_LAYER;
    if is_layer {
        asked.lock().unwrap().push((path.rsplit('/').next().unwrap_or_default().to_owned(), from));
    }
    let (rest, length) = (&bytes[from as usize..], bytes.len());
    let status = match from {
        0 => "200 OK".to_owned(),
        from => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{length}", length - 1),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.len()
    );
    let (first, second) = rest.split_at(if is_layer { rest.len() / 2 } else { 0 });
    stream.write_all(&[head.as_bytes(), first].concat()).await.ok();
    if is_layer && open.wait_for(|open| *open).await.is_err() {
        return;
    }
    stream.write_all(second).await.ok();
    stream.shutdown().await.ok();
}

/// A layer of two hundred kilobytes.
fn layer(name: &str) -> Vec<u8> {
    tar(&[(name, &"x".repeat(200_000))])
}

/// Adds an image of these layers.
fn serve(content: &mut Content, tag: &str, layers: &[&[u8]]) {
    let config = config_of(layers);
    let described = layers.iter().map(|layer| Descriptor::of(media_types::OCI_LAYER, layer)).collect();
    let manifest = Manifest::new(Descriptor::of(media_types::OCI_CONFIG, &config), described);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut add = |path: String, kind: &str, bytes: &[u8]| {
        content.insert(path, (kind.to_owned(), bytes.to_vec()));
    };
    add(format!("/v2/app/manifests/{tag}"), media_types::OCI_MANIFEST, &manifest);
    add(format!("/v2/app/blobs/{}", Digest::sha256(&config)), media_types::OCI_CONFIG, &config);
    for layer in layers {
        add(format!("/v2/app/blobs/{}", Digest::sha256(layer)), media_types::OCI_LAYER, layer);
    }
}

fn once(layers: &[&[u8]]) -> Vec<(String, u64)> {
    let mut all: Vec<_> = layers.iter().map(|layer| (Digest::sha256(layer).to_string(), 0)).collect();
    all.sort();
    all
}

/// Engines on one root, as of several processes, with little patience or as much as there is.
async fn engines<const N: usize>(stuck: Duration, whole: Duration) -> (TempDir, [Engine; N]) {
    let dir = tempfile::tempdir().unwrap();
    let mut engines = Vec::new();
    for _ in 0..N {
        let mut config = Config::new(dir.path().join("root"), dir.path().join("run"), "/proc/self/exe");
        config.patience = Patience { stuck, whole };
        engines.push(Engine::open(config).await.unwrap());
    }
    (dir, engines.try_into().ok().unwrap())
}

const EVER: Duration = Duration::from_secs(3600);
const BRIEF: Duration = Duration::from_millis(300);

fn assert_clean(engine: &Engine) {
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
    assert_eq!(std::fs::read_dir(engine.store().root().join("ingest")).unwrap().count(), 0);
}

#[tokio::test]
async fn each_layer_comes_once_however_many_want_it() {
    let (_dir, [engine, other]) = engines(EVER, EVER).await;
    let (a, b, c) = (layer("a"), layer("b"), layer("c"));
    let mut content = Content::new();
    serve(&mut content, "1", &[&a, &b]);
    // It has one of them twice.
    serve(&mut content, "2", &[&b, &c, &b]);
    let registry = Gated::start(content).await;
    let first = registry.pull(&engine, "1");
    until("the first fetches both", || registry.asked().len() == 2).await;
    let more: Vec<_> = [&engine, &engine, &other].map(|engine| registry.pull(engine, "1")).into();
    let else_one = registry.pull(&other, "2");
    for pulling in more.iter().chain([&else_one]) {
        until("the others tell how far it is", || pulling.told("Downloading") == 2).await;
    }
    registry.open.send_replace(true);
    let id = first.end().await;
    for pulling in more {
        until("it is complete", || pulling.told("Pull complete") == 2).await;
        assert_eq!(pulling.end().await, id);
    }
    else_one.end().await;
    assert_eq!(registry.asked(), once(&[&a, &b, &c]));
    assert_eq!(listed(&other, &[]).await.len(), 2);
    assert_clean(&engine);
}

#[tokio::test]
async fn who_waits_goes_on_with_what_was_given_up() {
    let (_dir, [engine]) = engines(EVER, EVER).await;
    let a = layer("a");
    let mut content = Content::new();
    serve(&mut content, "1", &[&a]);
    let registry = Gated::start(content).await;
    let first = registry.pull(&engine, "1");
    until("it is under way", || first.told("Downloading") == 1).await;
    let second = registry.pull(&engine, "1");
    until("the second waits", || second.told("Downloading") == 1).await;
    assert_eq!(registry.asked().len(), 1);
    first.work.abort();
    until("the second fetches the rest", || registry.asked().len() == 2).await;
    registry.open.send_replace(true);
    second.end().await;
    let half = a.len() as u64 / 2;
    assert_eq!(
        registry.asked(),
        [(Digest::sha256(&a).to_string(), 0), (Digest::sha256(&a).to_string(), half)]
    );
    assert_clean(&engine);
}

#[tokio::test]
async fn who_waits_for_nobody_else_any_more_takes_a_copy() {
    let (_dir, [engine]) = engines(EVER, BRIEF).await;
    let (a, b) = (layer("a"), layer("b"));
    let mut content = Content::new();
    serve(&mut content, "1", &[&a, &b]);
    let registry = Gated::start(content).await;
    registry.open.send_replace(true);
    // Another pull has all of one layer, and waits for what this one has: for ever.
    let store = engine.store();
    let batch = store.batch(&Arc::new(store.lease("other").unwrap())).unwrap();
    bring(&batch, store, &a, a.len());
    let pulling = registry.pull(&engine, "1");
    pulling.end().await;
    assert_eq!(registry.asked(), once(&[&b]));
    batch.publish().unwrap();
    drop(batch);
    assert_clean(&engine);
}

#[tokio::test]
async fn what_does_not_come_is_fetched_by_oneself() {
    let (_dir, [engine]) = engines(BRIEF, BRIEF).await;
    let a = layer("a");
    let mut content = Content::new();
    serve(&mut content, "1", &[&a]);
    let registry = Gated::start(content).await;
    registry.open.send_replace(true);
    let store = engine.store();
    let lease = store.lease("other").unwrap();
    let Fetch::Ours(mut stuck) = store.fetch(&lease, &Digest::sha256(&a)).unwrap() else { panic!("ours") };
    io::Write::write_all(&mut stuck, &a[..1000]).unwrap();
    let pulling = registry.pull(&engine, "1");
    pulling.end().await;
    assert_eq!(registry.asked(), once(&[&a]));
    drop(stuck);
    // What another has all of may be something else, which he does not know yet.
    rmi(&engine, &format!("127.0.0.1:{}/app:1", registry.port), false).await.unwrap();
    let Fetch::Ours(mut wrong) = store.fetch(&lease, &Digest::sha256(&a)).unwrap() else { panic!("ours") };
    io::Write::write_all(&mut wrong, &vec![1; a.len()]).unwrap();
    let pulling = registry.pull(&engine, "1");
    pulling.end().await;
    assert_eq!(registry.asked().len(), 2);
    drop(wrong);
    drop(lease);
    assert_clean(&engine);
}

/// Brings the first bytes of a layer.
fn bring(batch: &Batch, store: &store::Store, layer: &[u8], length: usize) {
    let digest = Digest::sha256(layer);
    let Fetch::Ours(mut partial) = store.fetch(batch.lease(), &digest).unwrap() else { panic!("ours") };
    io::Write::write_all(&mut partial, &layer[..length]).unwrap();
    batch.add_partial(partial).unwrap();
}
