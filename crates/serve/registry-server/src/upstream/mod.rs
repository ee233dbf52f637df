//! A cache of another registry: what is not here is fetched there, given on while it comes, and kept.
//!
//! A tag that was looked up a while ago is looked up again by its digest alone. When the other registry is not reached, or
//! wants no more requests, what is here is served. Only blobs that a manifest of the same repository names are fetched, so that
//! nobody fills the disk with what they make up; each is fetched once, however many ask for it.

mod eviction;
mod filling;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use oci::image::{Descriptor, Document};
use oci::{Digest, Reference as Remote};
use registry::{Client, Credentials, Kind, Repository};
use tokio::sync::Notify;

use crate::answer::Result;
use crate::error::{Code, Failure, chain};
use crate::manifests::Stored;
use crate::name::{Name, Tag};
use crate::referrers;
use crate::registry::Registry;
use crate::storage::{Folder, Key};
pub(crate) use filling::Filling;

/// How long is waited for the other registry, where there is something here, and where there is nothing.
const STALE_PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// The other registry.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `docker.io`, `registry.example.com:5000`.
    pub host: String,
    /// How it is spoken to.
    pub client: registry::Config,
    /// Who we are there.
    pub credentials: Option<Credentials>,
    /// How long a tag is what it was.
    pub fresh: Duration,
    /// Bytes that may be kept; what was not asked for for longest goes first.
    pub most: Option<u64>,
}

/// What is known of the other registry.
pub(crate) struct Cache {
    upstream: Upstream,
    /// By which we know our own requests: a mirror of the other registry may be this one.
    agent: String,
    client: Client,
    /// One for each thing that somebody looks up at the moment.
    lookups: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    fillings: tokio::sync::Mutex<HashMap<Digest, Arc<Filling>>>,
    /// Bytes that are here, about.
    held: AtomicU64,
    /// There is too much, or no room for more.
    pressed: Notify,
    /// There was no room for more.
    full: AtomicBool,
}

impl Cache {
    pub(crate) fn new(upstream: Upstream) -> Cache {
        let agent = format!("dhow-registry/{} ({})", env!("CARGO_PKG_VERSION"), uuid::Uuid::new_v4());
        let client = Client::new(registry::Config { user_agent: agent.clone(), ..upstream.client.clone() });
        Cache {
            upstream,
            agent,
            client,
            lookups: Mutex::default(),
            fillings: tokio::sync::Mutex::default(),
            held: AtomicU64::new(0),
            pressed: Notify::new(),
            full: AtomicBool::new(false),
        }
    }

    /// Refuses a request of our own.
    pub(crate) fn check(&self, agent: Option<&str>) -> Result<()> {
        match agent == Some(self.agent.as_str()) {
            // A status that nobody tries again after.
            true => Err(Failure::says(Code::Unavailable, "the registry is a cache of itself")
                .status(http::StatusCode::LOOP_DETECTED)),
            false => Ok(()),
        }
    }

    fn repository(&self, name: &Name) -> Repository {
        let domain = self.upstream.host.clone();
        let remote = Remote { domain, path: name.as_str().to_owned(), tag: None, digest: None };
        self.client.repository(&remote, self.upstream.credentials.clone())
    }

    /// Whoever looks up the same waits for who does already.
    async fn alone(&self, what: String) -> tokio::sync::OwnedMutexGuard<()> {
        let lookup = {
            let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
            lookups.retain(|_, lookup| lookup.strong_count() > 0);
            match lookups.get(&what).and_then(Weak::upgrade) {
                Some(lookup) => lookup,
                None => {
                    let lookup = Arc::new(tokio::sync::Mutex::new(()));
                    lookups.insert(what, Arc::downgrade(&lookup));
                    lookup
                }
            }
        };
        lookup.lock_owned().await
    }

    fn is_fresh(&self, modified: SystemTime) -> bool {
        SystemTime::now().duration_since(modified).unwrap_or_default() < self.upstream.fresh
    }
}

/// What a failure at the other registry is to our client.
fn told(error: &registry::Error) -> Failure {
    match error.kind() {
        Kind::NotFound => Failure::new(Code::ManifestUnknown),
        Kind::Denied | Kind::Unauthorized => Failure::says(Code::Denied, "the upstream registry denies it"),
        Kind::RateLimited => {
            Failure::says(Code::TooManyRequests, "the upstream registry wants no more requests")
        }
        Kind::Unavailable | Kind::Protocol | Kind::Settings => {
            tracing::warn!(error = %chain(error), "upstream registry");
            Failure::says(Code::Unavailable, "the upstream registry does not answer as it should")
        }
    }
}

impl Registry {
    /// The digest that a tag stands for now, with the manifest here. What is here counts while the other registry is away.
    pub(crate) async fn refresh_tag(&self, cache: &Cache, name: &Name, tag: &Tag) -> Result<Option<Stored>> {
        let _alone = cache.alone(format!("{name}:{tag}")).await;
        let key = Key::tag(name, tag);
        let here = match self.tagged(name, tag).await? {
            Some(digest) => self.stored(name, &digest).await?,
            None => None,
        };
        let checked = self.storage.stat(&key).await?;
        if here.is_some() && checked.is_some_and(|stat| cache.is_fresh(stat.modified)) {
            self.metrics.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(here);
        }
        // A client waits for less long than we may be asked to wait.
        let patience = if here.is_some() { STALE_PATIENCE } else { PATIENCE };
        let looked_up = tokio::time::timeout(patience, self.look_up(cache, name, tag, here.as_ref())).await;
        let Ok(looked_up) = looked_up else {
            tracing::warn!(%name, %tag, "the upstream registry takes too long");
            return match here {
                Some(here) => Ok(Some(here)),
                None => Err(Failure::says(Code::Unavailable, "the upstream registry takes too long")),
            };
        };
        match looked_up {
            Ok(found) => {
                if found.is_none() {
                    // It is gone there; who asks by digest still gets it.
                    self.storage.remove(&key).await?;
                }
                Ok(found)
            }
            Err(error) if here.is_some() && is_away(&error) => {
                tracing::warn!(error = %chain(&error), %name, %tag, "served as it was here");
                Ok(here)
            }
            Err(error) => Err(told(&error)),
        }
    }

    /// What the other registry says.
    async fn look_up(
        &self,
        cache: &Cache,
        name: &Name,
        tag: &Tag,
        here: Option<&Stored>,
    ) -> Result<Option<Stored>, registry::Error> {
        let repository = cache.repository(name);
        if let Some(here) = here {
            let domain = cache.upstream.host.clone();
            let (path, tagged) = (name.as_str().to_owned(), Some(tag.as_str().to_owned()));
            let remote = Remote { domain, path, tag: tagged, digest: None };
            let repository = cache.client.repository(&remote, cache.upstream.credentials.clone());
            if repository.digest().await?.as_ref() == Some(&here.digest) {
                self.metrics.hits.fetch_add(1, Ordering::Relaxed);
                // Only a matter of when it is looked up again.
                let _ = self.storage.touch(&Key::tag(name, tag)).await;
                return Ok(Some(here.clone()));
            }
        }
        let Some((descriptor, bytes)) = repository.tagged(tag.as_str()).await? else { return Ok(None) };
        self.metrics.misses.fetch_add(1, Ordering::Relaxed);
        let tags = std::slice::from_ref(tag);
        Ok(Some(self.keep_fetched(cache, name, descriptor, bytes, tags).await))
    }

    /// The manifest of a digest that was not here.
    pub(crate) async fn fetch_manifest(
        &self,
        cache: &Cache,
        name: &Name,
        digest: &Digest,
    ) -> Result<Option<Stored>> {
        let _alone = cache.alone(format!("{name}@{digest}")).await;
        if let Some(here) = self.stored(name, digest).await? {
            return Ok(Some(here));
        }
        match cache.repository(name).manifest(digest).await {
            Ok((descriptor, bytes)) => {
                self.metrics.misses.fetch_add(1, Ordering::Relaxed);
                Ok(Some(self.keep_fetched(cache, name, descriptor, bytes, &[]).await))
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }

    /// Keeps what came; what can't be kept is served all the same.
    async fn keep_fetched(
        &self,
        cache: &Cache,
        name: &Name,
        descriptor: Descriptor,
        bytes: Bytes,
        tags: &[Tag],
    ) -> Stored {
        let document = Document::parse(&bytes).ok();
        let stored = Stored { digest: descriptor.digest, media_type: descriptor.media_type, bytes };
        let size = stored.bytes.len() as u64;
        let shown = document.as_ref().map(|document| {
            let subject = referrers::subject(document).map(|subject| subject.digest.clone());
            (subject, referrers::descriptor(document, &stored.media_type, &stored.digest, size))
        });
        let subject = shown.as_ref().and_then(|(subject, shown)| Some((subject.as_ref()?, shown)));
        match self.keep_manifest(name, &stored, subject, tags).await {
            Ok(()) => cache.grown(size),
            Err(failure) => {
                tracing::warn!(%name, message = failure.message, "an upstream manifest is not kept");
            }
        }
        stored
    }

    /// How a manifest of the repository describes this blob. Where none that is here does, the manifest of whoever asks may have
    /// been given up since: the other registry knows.
    pub(crate) async fn described(
        &self,
        cache: &Cache,
        name: &Name,
        digest: &Digest,
    ) -> Result<Option<Descriptor>> {
        for manifest in self.storage.names(Folder::Manifests(name), "", usize::MAX).await? {
            let Ok(manifest) = manifest.parse::<Digest>() else { continue };
            let Some(stored) = self.stored(name, &manifest).await? else { continue };
            let Ok(Document::Manifest(document)) = Document::parse(&stored.bytes) else { continue };
            let mut blobs = std::iter::once(&document.config).chain(&document.layers);
            if let Some(found) = blobs.find(|blob| blob.digest == *digest) {
                return Ok(Some(found.clone()));
            }
        }
        match cache.repository(name).blob_length(digest).await {
            Ok(length) => {
                Ok(length.map(|length| Descriptor::new("application/octet-stream", digest.clone(), length)))
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }

    /// The tags of the other registry; what is here when it is away.
    pub(crate) async fn upstream_tags(&self, cache: &Cache, name: &Name) -> Result<Option<Vec<String>>> {
        match cache.repository(name).tags().await {
            Ok(mut tags) => {
                tags.sort_unstable();
                Ok(Some(tags))
            }
            Err(error) if is_away(&error) => Ok(None),
            Err(error) if error.kind() == Kind::NotFound => Err(Failure::new(Code::NameUnknown)),
            Err(error) => Err(told(&error)),
        }
    }

    /// What refers to a manifest at the other registry; none when it is away.
    pub(crate) async fn upstream_referrers(
        &self,
        cache: &Cache,
        name: &Name,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>> {
        match cache.repository(name).referrers(subject).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_away(&error) => Ok(None),
            Err(error) if error.kind() == Kind::NotFound => Ok(Some(Vec::new())),
            Err(error) => Err(told(&error)),
        }
    }
}

/// Whether what is here is better than the failure.
fn is_away(error: &registry::Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::RateLimited)
}
