//! The build cache on its way to other machines and back (`--cache-to`, `--cache-from`).
//!
//! What travels is an OCI manifest: its configuration is our [`Document`], its layers are the layers that the records name,
//! and, if asked for, the directories of cache mounts. A record's key is a digest of content, so it means the same
//! everywhere. Whoever gives a cache says what steps give: import from those only whom you would let build for you. Layers
//! are verified by their digests, and fetched only when a record that has them is hit.
//!
//! Where only the layers of the result travel (`mode=min`, `type=inline`), of every other step goes along which layers it
//! gave ([`Promise`]): that is all that the keys of the steps after it need, so these are hit, and it is not made again.

mod earlier;
mod export;
mod import;

pub use earlier::Earlier;
pub(crate) use earlier::Sum;
pub(crate) use export::{Used, inline, send};
pub(crate) use import::{Imports, Told, open};

use crate::error::BoxError;
use oci::image::Descriptor;
use oci::{ChainId, Digest, Reference};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// The media type of a [`Document`].
pub const DOCUMENT_TYPE: &str = "application/vnd.dhow.cache.config.v1+json";
/// Where an image's configuration holds one (`type=inline`).
pub const INLINE_KEY: &str = "dhow.cache.v1";
/// The media type of a cache mount's archive.
const MOUNT_TYPE: &str = "application/vnd.dhow.cache.mount.v1.tar+gzip";
/// A document larger than this is nobody's cache.
pub const DOCUMENT_MAX: u64 = 64 << 20;

/// Records with what they need.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Records.
    pub entries: Vec<Entry>,
    /// Of further steps what they gave; those layers are not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promises: Vec<Promise>,
    /// Layers by the digest of their uncompressed archive; none where an image's manifest names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<Digest, Descriptor>,
    /// Directories of cache mounts by the name of their directory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Descriptor>,
}

/// One record, in digests alone: a cache may be read by more people than the commands, arguments and variables of a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Digest of what the step does and reads.
    pub key: Digest,
    /// The layers that it gives, lowest first.
    pub layers: Vec<Digest>,
    /// Digest of what a person calls the step.
    pub scope: String,
    /// Digest of what the step does, whatever it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Digest>,
    /// When it was made.
    pub created: String,
}

/// What a step gave whose layers did not travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promise {
    /// Digest of what the step does and reads.
    pub key: Digest,
    /// The layer stack that it gave.
    pub chain: ChainId,
    /// When it was made.
    pub created: String,
}

/// Where a cache comes from.
#[derive(Clone)]
pub struct CacheOrigin {
    /// What to call it.
    pub name: String,
    /// What a registry has it under: its layers may be taken from there to another repository.
    pub image: Option<Reference>,
    /// Opens it: several where it is in images, one for each platform.
    pub open: Arc<dyn Fn() -> Result<Vec<Opened>, BoxError> + Send + Sync>,
}

/// An opened cache.
pub struct Opened {
    /// The document.
    pub document: Vec<u8>,
    /// The layers of the image that the document was in: digests of the uncompressed archives, and where they are.
    pub layers: Vec<(Digest, Descriptor)>,
    /// Gives a blob.
    pub blob: Blobs,
}

/// Gives a blob by its descriptor.
pub type Blobs = Arc<dyn Fn(&Descriptor) -> Result<Box<dyn Read + Send>, BoxError> + Send + Sync>;

/// Takes a manifest and what it names.
pub type Taker = Arc<dyn Fn(&Descriptor, &[Descriptor]) -> Result<(), BoxError> + Send + Sync>;

/// What names a cache's records and layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// An OCI image manifest, whose configuration the records are.
    #[default]
    Manifest,
    /// An OCI index of layers, with the records as the last of them.
    Index,
    /// The same as Docker's manifest list.
    List,
}

/// Where a cache goes to.
#[derive(Clone)]
pub struct CacheTarget {
    /// What to call it.
    pub name: String,
    /// All steps, and not only those whose layers are the result's.
    pub max: bool,
    /// Directories of cache mounts too.
    pub mounts: bool,
    /// How layers that were made here are compressed, and by which level of its own scale.
    pub compression: archive::Compression,
    /// See `compression`.
    pub level: Option<u32>,
    /// gzip is written as eStargz.
    pub seekable: bool,
    /// The form of what names it all.
    pub form: Form,
    /// Layers of base images are compressed anew too.
    pub force: bool,
    /// The build is fine also where the cache could not be sent.
    pub ignore_error: bool,
    /// Takes a manifest and what it names, all of which are blobs of the store now.
    pub send: Taker,
}
