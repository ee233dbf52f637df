//! Content of one repository on its way to another: blobs by mounting them where the registry can, else sent as a push sends
//! them, over as many connections as it takes; and what is attached to it.
//!
//! Attached is what names a manifest as its subject (the list of referrers), and what lies under cosign's tags beside it
//! (`sha256-….sig`, `.att`, `.sbom`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use oci::image::{Descriptor, Document};
use oci::{Digest, Reference};
use registry::{Begun, Body, Outgoing, Repository};
use tokio::sync::OnceCell;

use super::{Access, registry_error};
use crate::error::{Error, Result};
use crate::images::attached::{self, Met, list_referrer};
use crate::images::push::holders;

/// What is sent at once.
pub(super) const AT_ONCE: usize = 4;

/// The way from one repository to another.
pub(super) struct Way<'a> {
    access: &'a Access<'a>,
    from: Repository,
    source: &'a Reference,
    to: Repository,
    target: &'a Reference,
    /// Repositories of the target's registry that have layers of images that are here.
    holders: OnceCell<HashMap<Digest, String>>,
}

impl<'a> Way<'a> {
    pub fn new(access: &'a Access<'a>, source: &'a Reference, target: &'a Reference) -> Way<'a> {
        let (from, to) = (access.read(source), access.write(target));
        Way { access, from, source, to, target, holders: OnceCell::new() }
    }

    /// Whether both ends are the same repository: there is nothing to bring then.
    fn is_circle(&self) -> bool {
        self.source.domain == self.target.domain && self.source.path == self.target.path
    }

    /// Brings a manifest with its blobs, under its digest or this tag.
    pub async fn manifest(&self, descriptor: &Descriptor, tag: Option<&str>) -> Result<()> {
        self.manifest_about(descriptor, tag, None).await
    }

    /// The same; fails if it should have a subject and has another one.
    async fn manifest_about(
        &self,
        descriptor: &Descriptor,
        tag: Option<&str>,
        subject: Option<&Digest>,
    ) -> Result<()> {
        let (found, bytes) = self.from.member(descriptor).await.map_err(registry_error)?;
        let document = Document::parse(&bytes).map_err(|e| Error::invalid(e.to_string()))?;
        if let Some(subject) = subject {
            attached::check_subject(&found.digest, &document, subject)?;
        }
        match document {
            Document::Manifest(manifest) => {
                let mut seen = BTreeSet::new();
                let blobs: Vec<BoxFuture<'_, Result<()>>> = manifest
                    .layers
                    .iter()
                    .chain([&manifest.config])
                    .filter(|blob| seen.insert(&blob.digest))
                    .map(|blob| self.blob(blob).boxed())
                    .collect();
                futures_util::stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            }
            // What is attached may be an index of things.
            Document::Index(index) => {
                for member in &index.manifests {
                    let is_index = oci::media_types::is_index(&member.media_type);
                    if is_index {
                        return Err(Error::invalid(format!("{} is an index in an index", member.digest)));
                    }
                    if !self.to.has_manifest(member.digest.as_str()).await.map_err(registry_error)? {
                        Box::pin(self.manifest(member, None)).await?;
                    }
                }
            }
        }
        let name = tag.unwrap_or(found.digest.as_str());
        self.to.push_manifest(name, &found.media_type, bytes).await.map_err(registry_error)
    }

    async fn blob(&self, blob: &Descriptor) -> Result<()> {
        if self.to.has_blob(&blob.digest).await.map_err(registry_error)? {
            return Ok(());
        }
        let holder = self.holder(&blob.digest).await?;
        let mount = holder.as_deref().map(|path| (&blob.digest, path));
        let place = match self.to.begin_blob(mount).await.map_err(registry_error)? {
            Begun::Mounted => return Ok(()),
            Begun::At(place) => place,
        };
        let relay = Relay { from: self.from.clone(), blob: blob.clone(), failure: Arc::default() };
        let sent = self.to.send_blob(place, &relay).await;
        // Why it can't be read says more than that its end never came.
        match relay.failure().take() {
            Some(error) => Err(registry_error(error)),
            None => sent.map(drop).map_err(registry_error),
        }
    }

    /// Another repository of the target's registry that should have this blob.
    async fn holder(&self, digest: &Digest) -> Result<Option<String>> {
        if self.source.domain == self.target.domain {
            return Ok(Some(self.source.path.clone()));
        }
        let own = self.target.clone();
        let look = || async { self.access.engine.blocking(move |engine| holders(engine, &own)).await };
        Ok(self.holders.get_or_try_init(look).await?.get(digest).cloned())
    }

    /// Brings what is attached to a manifest that the target has now, and what is attached to that.
    pub async fn attached(&self, subject: &Digest) -> Result<Vec<Digest>> {
        let mut copied = Vec::new();
        if !self.is_circle() {
            self.attached_to(subject, attached::DEPTH, &mut Met::default(), &mut copied).await?;
        }
        Ok(copied)
    }

    async fn attached_to(
        &self,
        subject: &Digest,
        depth: u32,
        met: &mut Met,
        copied: &mut Vec<Digest>,
    ) -> Result<()> {
        let mut new = Vec::new();
        for artifact in self.from.referrers(subject).await.map_err(registry_error)? {
            // A thing has one subject.
            if met.add(&artifact.digest)? {
                new.push(artifact);
            }
        }
        for artifact in new {
            if !self.to.has_manifest(artifact.digest.as_str()).await.map_err(registry_error)? {
                self.manifest_about(&artifact, None, Some(subject)).await?;
                copied.push(artifact.digest.clone());
            }
            list_referrer(&self.to, subject, &artifact).await?;
            if depth > 1 {
                Box::pin(self.attached_to(&artifact.digest, depth - 1, met, copied)).await?;
            }
        }
        for tag in registry::cosign_tags(subject) {
            // The target may have more of them by now: signatures of its own.
            if !self.from.has_manifest(&tag).await.map_err(registry_error)?
                || self.to.has_manifest(&tag).await.map_err(registry_error)?
            {
                continue;
            }
            if let Some((artifact, _)) = self.from.tagged(&tag).await.map_err(registry_error)? {
                self.manifest(&artifact, Some(&tag)).await?;
                copied.push(artifact.digest);
            }
        }
        Ok(())
    }
}

/// A blob that is read from one registry while it is sent to another.
struct Relay {
    from: Repository,
    blob: Descriptor,
    failure: Failure,
}

type Failure = Arc<Mutex<Option<registry::Error>>>;

impl Relay {
    fn failure(&self) -> std::sync::MutexGuard<'_, Option<registry::Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing for Relay {
    fn length(&self) -> Option<u64> {
        Some(self.blob.size)
    }

    fn open(&self, from: u64) -> Body {
        // The registry that gets all of it compares the digest in any case.
        let blob = match from {
            0 => self.from.blob(&self.blob),
            from => self.from.blob(&self.blob).rest(from),
        };
        let failure = self.failure.clone();
        let chunks = futures_util::stream::try_unfold((blob, failure), |(mut blob, failure)| async move {
            match blob.chunk().await {
                Ok(chunk) => Ok::<_, std::io::Error>(chunk.map(|chunk: Bytes| (chunk, (blob, failure)))),
                Err(error) => {
                    let text = error.to_string();
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Err(std::io::Error::other(text))
                }
            }
        });
        Body::wrap_stream(chunks)
    }

    fn digest(&self) -> Option<Digest> {
        Some(self.blob.digest.clone())
    }

    fn failed(&self) -> bool {
        self.failure().is_some()
    }
}
