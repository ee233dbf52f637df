//! What is attached to an image and travels with it: what names its manifest as its subject (signatures, lists of packages), and
//! what lies under cosign's tags beside it (`sha256-….sig`, `.att`, `.sbom`).
//!
//! The store keeps it with the image that it came with ([`state::attached`]): loading an archive that has such things, or a pull
//! that asks for them, brings them here; save and push take them along.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use oci::image::{Descriptor, Document, Index};
use oci::{Digest, media_types};
use registry::{Repository, cosign_tags, referrers_tag};
use state::attached::{self, Attached};
use store::Lease;

use super::pull::registry_error;
use crate::Engine;
use crate::error::{Context as _, Error, Result};

/// How far what is attached to what is attached is followed.
pub(super) const DEPTH: u32 = 3;
/// Things attached to an image, and to what is attached to it, that are brought along.
const MOST: usize = 1000;

/// What was met on the way from subject to subject: nothing is followed twice, and not more than [`MOST`] things at all.
#[derive(Default)]
pub(super) struct Met(BTreeSet<Digest>);

impl Met {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether this thing is met for the first time.
    pub fn add(&mut self, artifact: &Digest) -> Result<bool> {
        if self.0.contains(artifact) {
            return Ok(false);
        }
        if self.0.len() == MOST {
            return Err(Error::invalid(format!("more than {MOST} things are attached to the image")));
        }
        Ok(self.0.insert(artifact.clone()))
    }
}

/// Fails where a document that is listed as attached to a manifest says something else of itself.
pub(super) fn check_subject(artifact: &Digest, document: &Document, subject: &Digest) -> Result<()> {
    let own = match document {
        Document::Manifest(manifest) => &manifest.subject,
        Document::Index(index) => &index.subject,
    };
    match own {
        Some(own) if own.digest == *subject => Ok(()),
        Some(own) => Err(Error::invalid(format!(
            "{artifact} is listed as attached to {subject}, and says that it is to {}",
            own.digest
        ))),
        None => Err(Error::invalid(format!(
            "{artifact} is listed as attached to {subject}, and says that it is to nothing"
        ))),
    }
}

/// Sees to it that the artifact is found from its subject: a registry that keeps no lists itself has one under a tag.
pub(super) async fn list_referrer(
    repository: &Repository,
    subject: &Digest,
    made: &Descriptor,
) -> Result<()> {
    let mut known = repository.referrers(subject).await.map_err(registry_error)?;
    if known.iter().any(|known| known.digest == made.digest) {
        return Ok(());
    }
    known.push(made.clone());
    let bytes = serde_json::to_vec(&Index::new(known)).during("write a list of what is attached")?;
    let tag = referrers_tag(subject);
    repository.push_manifest(&tag, media_types::OCI_INDEX, Bytes::from(bytes)).await.map_err(registry_error)
}

/// The line of a list of referrers for a manifest that is here.
pub(super) fn line(digest: &Digest, bytes: &[u8], document: &Document) -> Descriptor {
    let mut line = Descriptor::new(document.media_type(), digest.clone(), bytes.len() as u64);
    if let Document::Manifest(manifest) = document {
        line.artifact_type = manifest.artifact_kind().map(str::to_owned);
        line.annotations.clone_from(&manifest.annotations);
    }
    line
}

/// All that is attached here to these manifests, and to that: each with what it is attached to.
pub(super) fn of(engine: &Engine, manifests: &[Digest]) -> Result<Vec<(Digest, Attached)>> {
    engine.db().read(|tx| {
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        let mut next = manifests.to_vec();
        for _ in 0..DEPTH {
            let mut further = Vec::new();
            for subject in next.drain(..) {
                for thing in attached::to(tx, &subject)? {
                    if seen.insert((subject.clone(), thing.artifact.clone(), thing.tag.clone())) {
                        further.push(thing.artifact.clone());
                        all.push((subject.clone(), thing));
                    }
                }
            }
            next = further;
        }
        Ok(all)
    })
}

/// Fetches what is attached to a manifest that is here, and keeps it with it.
pub(super) async fn fetch(
    engine: &Engine,
    lease: &Arc<Lease>,
    repository: &Repository,
    subject: &Digest,
    met: &mut Met,
    depth: u32,
) -> Result<()> {
    let mut found: Vec<(Descriptor, Option<String>)> = Vec::new();
    let referrers = repository.referrers(subject).await.map_err(registry_error)?;
    found.extend(referrers.into_iter().map(|artifact| (artifact, None)));
    for tag in cosign_tags(subject) {
        if let Some((artifact, _)) = repository.tagged(&tag).await.map_err(registry_error)? {
            found.push((artifact, Some(tag)));
        }
    }
    let new = found.iter().map(|(artifact, _)| met.add(&artifact.digest)).collect::<Result<Vec<_>>>()?;
    for ((artifact, tag), is_new) in found.into_iter().zip(new) {
        let (artifact, bytes) = repository.member(&artifact).await.map_err(registry_error)?;
        let document = Document::parse(&bytes).during("read what is attached")?;
        if tag.is_none() {
            check_subject(&artifact.digest, &document, subject)?;
        }
        let Document::Manifest(manifest) = document else {
            return Err(Error::invalid(format!(
                "what is attached to {subject} is an index: {}",
                artifact.digest
            )));
        };
        let mut seen = BTreeSet::new();
        for blob in manifest.layers.iter().chain([&manifest.config]).filter(|blob| seen.insert(&blob.digest))
        {
            keep(engine, lease, repository, blob).await?;
        }
        let (own, on, digest) = (lease.clone(), subject.clone(), artifact.digest.clone());
        engine
            .blocking(move |engine| {
                put(engine, &own, &digest, &bytes)?;
                let thing = Attached { artifact: digest, tag };
                Ok(engine.db().write(|tx| attached::put(tx, &on, &thing))?)
            })
            .await?;
        if is_new && depth > 1 {
            Box::pin(fetch(engine, lease, repository, &artifact.digest, met, depth - 1)).await?;
        }
    }
    Ok(())
}

/// Keeps a blob as it is, if it is not here.
pub(super) async fn keep(
    engine: &Engine,
    lease: &Arc<Lease>,
    repository: &Repository,
    blob: &Descriptor,
) -> Result<()> {
    let (own, digest) = (lease.clone(), blob.digest.clone());
    let here = engine.blocking(move |engine| Ok(engine.store().use_blob(&own, &digest)?.is_some())).await?;
    if here {
        return Ok(());
    }
    let mut source = repository.blob(blob);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
    let (own, digest) = (lease.clone(), blob.digest.clone());
    let writing = engine.blocking(move |engine| {
        use std::io::Write as _;
        let mut writer = engine.store().ingest(&own)?;
        while let Some(bytes) = receiver.blocking_recv() {
            writer.write_all(&bytes).during("keep a blob")?;
        }
        // What was cut off is told by whoever read it.
        Ok(writer.commit(Some(&digest))?)
    });
    let reading = async move {
        while let Some(bytes) = source.chunk().await.map_err(registry_error)? {
            if sender.send(bytes).await.is_err() {
                break;
            }
        }
        Ok::<_, Error>(())
    };
    let (read, written) = tokio::join!(reading, writing);
    read?;
    written.map(drop)
}

fn put(engine: &Engine, lease: &Lease, digest: &Digest, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let store = engine.store();
    if store.use_blob(lease, digest)?.is_none() {
        let mut writer = store.ingest(lease)?;
        writer.write_all(bytes).during("keep a document")?;
        writer.commit(Some(digest))?;
    }
    Ok(())
}
