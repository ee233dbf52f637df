//! What has a name and is no image: charts, programs for other machines, anything that a registry keeps. It was pulled or loaded as
//! it is, and is kept to be saved, pushed, tagged and removed; its id is the digest of its manifest.

use oci::Digest;
use oci::image::{Document, Manifest};
use state::tags::Tag;
use state::{Tx, images, tags};
use store::Store;

use crate::Engine;
use crate::error::{Error, Result};

/// One of them, with all its names.
pub(super) struct Artifact {
    pub digest: Digest,
    pub manifest: Manifest,
    /// Names with a tag.
    pub tags: Vec<Tag>,
    /// Names with a digest.
    pub digests: Vec<Tag>,
    /// Bytes of its manifest.
    pub length: u64,
    /// And of its blobs.
    pub size: u64,
}

/// All of them, by their digests.
pub(super) fn all(store: &Store, tx: &Tx<'_>) -> Result<Vec<Artifact>> {
    let mut all: Vec<Artifact> = Vec::new();
    for tag in tags::all(tx)? {
        let at = match all.iter().position(|known| known.digest == tag.target) {
            Some(at) => at,
            None => {
                if images::get(tx, &tag.target)?.is_some() {
                    continue;
                }
                let Some(new) = read(store, &tag.target)? else { continue };
                all.push(new);
                all.len() - 1
            }
        };
        let list = if tag.reference.digest.is_some() { &mut all[at].digests } else { &mut all[at].tags };
        list.push(tag);
    }
    all.sort_by(|a, b| a.digest.cmp(&b.digest));
    Ok(all)
}

/// What can't be read is no artifact: nobody knows what it is.
fn read(store: &Store, digest: &Digest) -> Result<Option<Artifact>> {
    let Ok(Document::Manifest(manifest)) = store.document(digest) else { return Ok(None) };
    if manifest.artifact_kind().is_none() {
        return Ok(None);
    }
    let length = store.blob_size(digest)?.unwrap_or_default();
    let mut size = length;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        size += store.blob_size(&blob.digest)?.unwrap_or_default();
    }
    let (digest, manifest) = (digest.clone(), *manifest);
    Ok(Some(Artifact { digest, manifest, tags: vec![], digests: vec![], length, size }))
}

/// The name of an artifact, if that is what `name` means.
pub(super) fn named(engine: &Engine, name: &str) -> Result<Option<Tag>> {
    engine.db().read(|tx| named_in(engine.store(), tx, name))
}

/// The same inside a transaction. A name, or the beginning of a digest where no image has it for its id.
pub(super) fn named_in(store: &Store, tx: &Tx<'_>, name: &str) -> Result<Option<Tag>> {
    match store.find_in(tx, name, None) {
        Err(store::Error::Artifact { .. }) => {}
        Err(store::Error::NoImage(_)) => return by_digest(store, tx, name),
        _ => return Ok(None),
    }
    let reference = oci::Reference::parse(name).map_err(|e| Error::invalid(e.to_string()))?;
    Ok(tags::meant(tx, &reference)?)
}

fn by_digest(store: &Store, tx: &Tx<'_>, name: &str) -> Result<Option<Tag>> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    if hex.len() < 4 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(None);
    }
    let mut found = all(store, tx)?.into_iter().filter(|artifact| artifact.digest.hex().starts_with(hex));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.tags.into_iter().chain(only.digests).next()),
        (Some(_), Some(_)) => Err(store::Error::Ambiguous(name.to_owned()).into()),
        _ => Ok(None),
    }
}
