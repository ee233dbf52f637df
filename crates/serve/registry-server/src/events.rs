//! Webhooks: what happens is told to servers that want to know, in the envelope of Docker's registry
//! (`application/vnd.docker.distribution.events.v1+json`).
//!
//! Nobody waits for them: events that find no room in an end-point's queue are lost and counted, and one that is not taken
//! is sent again some times with growing pauses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci::Digest;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::call::Call;
use crate::metrics::Metrics;
use crate::name::{Name, Tag};

const CONTENT_TYPE: &str = "application/vnd.docker.distribution.events.v1+json";
/// Events that wait for one end-point.
const QUEUE: usize = 1000;
/// How often one is sent.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Deed {
    Pull,
    Push,
    Mount,
    Delete,
}

/// To what.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_repository: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

impl Object {
    pub(crate) fn blob(name: &Name, digest: &Digest, size: Option<u64>) -> Object {
        let media_type = "application/octet-stream".to_owned();
        Object::new(name, media_type, digest, size, format!("/v2/{name}/blobs/{digest}"))
    }

    pub(crate) fn manifest(name: &Name, digest: &Digest, media_type: &str, size: Option<u64>) -> Object {
        Object::new(name, media_type.to_owned(), digest, size, format!("/v2/{name}/manifests/{digest}"))
    }

    fn new(name: &Name, media_type: String, digest: &Digest, size: Option<u64>, url: String) -> Object {
        let repository = name.as_str().to_owned();
        let digest = Some(digest.clone());
        Object { media_type, size, length: size, digest, repository, from_repository: None, url, tag: None }
    }

    /// A tag that stands for nothing any more.
    pub(crate) fn tag(name: &Name, tag: &Tag) -> Object {
        let (repository, tag) = (name.as_str().to_owned(), Some(tag.as_str().to_owned()));
        Object { repository, tag, ..Object::default() }
    }

    pub(crate) fn tagged(mut self, tag: Option<&Tag>) -> Object {
        self.tag = tag.map(|tag| tag.as_str().to_owned());
        self
    }

    pub(crate) fn from(mut self, name: &Name) -> Object {
        self.from_repository = Some(name.as_str().to_owned());
        self
    }
}

#[derive(Serialize)]
struct Envelope<'e> {
    events: [Event<'e>; 1],
}

#[derive(Serialize)]
struct Event<'e> {
    id: String,
    timestamp: String,
    action: Deed,
    target: &'e Object,
    request: Request<'e>,
    actor: Actor<'e>,
    source: Source<'e>,
}

#[derive(Serialize)]
struct Request<'e> {
    id: String,
    addr: String,
    host: &'e str,
    method: &'e str,
    useragent: &'e str,
}

#[derive(Serialize)]
struct Actor<'e> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'e str,
}

#[derive(Serialize)]
struct Source<'e> {
    addr: &'e str,
    #[serde(rename = "instanceID")]
    instance: &'e str,
}

/// Where events go.
pub(crate) struct Events {
    queues: Vec<mpsc::Sender<Arc<Vec<u8>>>>,
    instance: String,
    host: String,
    metrics: Arc<Metrics>,
}

/// A webhook that can't be one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("webhook {url:?}: it is no address of http or https")]
    Address { url: String },
    #[error("set up webhooks")]
    Client(#[source] reqwest::Error),
}

impl Events {
    /// Starts a task for each address; they end with this.
    pub(crate) fn start(urls: &[String], metrics: Arc<Metrics>) -> Result<Events, Error> {
        let mut queues = Vec::new();
        for text in urls {
            let bad = || Error::Address { url: text.clone() };
            let url = reqwest::Url::parse(text).map_err(|_| bad())?;
            if !["http", "https"].contains(&url.scheme()) {
                return Err(bad());
            }
            // Fails when the process has a provider already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder()
                .user_agent(concat!("dhow/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .timeout(PATIENCE)
                .build()
                .map_err(Error::Client)?;
            let (sender, receiver) = mpsc::channel(QUEUE);
            tokio::spawn(deliver(client, url, receiver, metrics.clone()));
            queues.push(sender);
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Events { queues, instance: uuid::Uuid::new_v4().to_string(), host, metrics })
    }

    /// Tells what a request has done.
    pub(crate) fn tell(&self, call: &Call, action: Deed, target: &Object) {
        if self.queues.is_empty() {
            return;
        }
        let event = Event {
            id: uuid::Uuid::new_v4().to_string(),
            timestamp: jiff::Timestamp::now().to_string(),
            action,
            target,
            request: Request {
                id: uuid::Uuid::new_v4().to_string(),
                addr: call.peer.map(|peer: SocketAddr| peer.to_string()).unwrap_or_default(),
                host: call.header(http::header::HOST).unwrap_or_default(),
                method: call.method().as_str(),
                useragent: call.header(http::header::USER_AGENT).unwrap_or_default(),
            },
            actor: Actor { name: call.user() },
            source: Source { addr: &self.host, instance: &self.instance },
        };
        // A document of texts and numbers can always be written.
        let Ok(document) = serde_json::to_vec(&Envelope { events: [event] }) else { return };
        let document = Arc::new(document);
        for queue in &self.queues {
            if queue.try_send(document.clone()).is_err() {
                self.metrics.not_told.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Sends what comes, one after the other.
async fn deliver(
    client: reqwest::Client,
    url: reqwest::Url,
    mut queue: mpsc::Receiver<Arc<Vec<u8>>>,
    metrics: Arc<Metrics>,
) {
    while let Some(document) = queue.recv().await {
        let mut pause = FIRST_PAUSE;
        let mut taken = false;
        for tried in 1..=TRIES {
            let request = client.post(url.clone()).header(http::header::CONTENT_TYPE, CONTENT_TYPE);
            let sent = request.body(document.to_vec()).send().await;
            taken = sent.as_ref().is_ok_and(|answer| answer.status().is_success());
            if taken || tried == TRIES {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        match taken {
            true => metrics.told.fetch_add(1, Ordering::Relaxed),
            false => {
                // Its address may have a password, its host has not.
                tracing::warn!(host = url.host_str().unwrap_or_default(), "a webhook does not take an event");
                metrics.not_told.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}
