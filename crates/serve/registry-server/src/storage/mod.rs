//! What the registry keeps, by key: files below a root.
//!
//! ```text
//! blobs/<algorithm>/<first two characters>/<hex>       content
//! repositories/<name>/blobs/<digest>                   empty: the repository has this blob; its time is when that was last relied on
//! repositories/<name>/manifests/<digest>               the media type on a line, and the document
//! repositories/<name>/tags/<tag>                       a digest
//! repositories/<name>/referrers/<subject>/<digest>     the descriptor that the list of referrers has
//! ```
//!
//! `<name>` has `+` for each `/`. A key is made of parsed names alone. Each write is whole or nothing, and on disk when it
//! has returned. Content comes before what refers to it, and goes after: what a crash leaves is content that nothing refers
//! to, which the garbage collection takes.

pub(crate) mod content;
pub(crate) mod disk;
pub(crate) mod objects;
mod parts;

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use oci::Digest;

use crate::name::{Name, Tag};
pub(crate) use content::{Content, Flow};
pub(crate) use disk::Disk;
pub(crate) use objects::Objects;

/// The longest document: a manifest and its type.
const DOCUMENT_MAX: u64 = oci::image::MANIFEST_MAX + 4096;

/// Where a piece of the registry lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(String);

impl Key {
    pub(crate) fn blob(digest: &Digest) -> Key {
        let (algorithm, hex) = (digest.algorithm(), digest.hex());
        Key(format!("blobs/{algorithm}/{}/{hex}", &hex[..2]))
    }

    pub(crate) fn link(name: &Name, digest: &Digest) -> Key {
        Folder::Links(name).key(digest.as_str())
    }

    pub(crate) fn manifest(name: &Name, digest: &Digest) -> Key {
        Folder::Manifests(name).key(digest.as_str())
    }

    pub(crate) fn tag(name: &Name, tag: &Tag) -> Key {
        Folder::Tags(name).key(tag.as_str())
    }

    pub(crate) fn referrer(name: &Name, subject: &Digest, digest: &Digest) -> Key {
        Folder::Referrers(name, subject).key(digest.as_str())
    }
}

/// Where several lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Folder<'a> {
    Repositories,
    Repository(&'a Name),
    Links(&'a Name),
    Manifests(&'a Name),
    Tags(&'a Name),
    Referrers(&'a Name, &'a Digest),
    /// Blobs whose hexadecimal digits begin so: see [`Storage::shards`].
    Blobs(Algorithm, &'a str),
}

/// What digests are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    pub(crate) fn of(digest: &Digest) -> Algorithm {
        match digest.algorithm() {
            "sha512" => Algorithm::Sha512,
            _ => Algorithm::Sha256,
        }
    }
}

impl Folder<'_> {
    pub(crate) fn path(&self) -> String {
        let of = |name: &Name, part: &str| format!("repositories/{}/{part}", name.folder());
        match self {
            Folder::Repositories => "repositories".to_owned(),
            Folder::Repository(name) => format!("repositories/{}", name.folder()),
            Folder::Links(name) => of(name, "blobs"),
            Folder::Manifests(name) => of(name, "manifests"),
            Folder::Tags(name) => of(name, "tags"),
            Folder::Referrers(name, subject) => of(name, &format!("referrers/{subject}")),
            Folder::Blobs(algorithm, shard) => format!("blobs/{}/{shard}", algorithm.as_str()),
        }
    }

    fn key(&self, name: &str) -> Key {
        match self {
            Folder::Blobs(algorithm, _) => {
                let folder = name.get(..2).unwrap_or_default();
                Key(format!("blobs/{}/{folder}/{name}", algorithm.as_str()))
            }
            _ => Key(format!("{}/{name}", self.path())),
        }
    }
}

/// What is known of something without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

/// Why the storage did not do something.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} {object}")]
pub struct Error {
    attempt: &'static str,
    object: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    pub(crate) fn new(
        attempt: &'static str,
        object: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error { attempt, object: object.into(), source: source.into() }
    }

    /// Whether there is no room left.
    pub(crate) fn is_full(&self) -> bool {
        let kind = self.source.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// The storage of a registry.
#[derive(Clone)]
pub(crate) enum Storage {
    Disk(Disk),
    Objects(Box<Objects>),
}

/// Keeps the sweep of the garbage collection away, or everybody else.
#[expect(dead_code, reason = "held and not looked at")]
pub(crate) enum Hold {
    Disk(disk::Lock),
    Objects(objects::Guard),
}

impl Storage {
    /// A document; none if there is none.
    pub(crate) async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        match self {
            Storage::Disk(disk) => disk.read(key).await,
            Storage::Objects(objects) => objects.read(key).await,
        }
    }

    /// Keeps a document, in place of what had the key before.
    pub(crate) async fn write(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        match self {
            Storage::Disk(disk) => disk.write(key, bytes).await,
            Storage::Objects(objects) => objects.write(key, bytes).await,
        }
    }

    /// Takes something away; false if it was not there.
    pub(crate) async fn remove(&self, key: &Key) -> Result<bool, Error> {
        match self {
            Storage::Disk(disk) => disk.remove(key).await,
            Storage::Objects(objects) => objects.remove(key).await,
        }
    }

    pub(crate) async fn stat(&self, key: &Key) -> Result<Option<Stat>, Error> {
        match self {
            Storage::Disk(disk) => disk.stat(key).await,
            Storage::Objects(objects) => objects.stat(key).await,
        }
    }

    /// Says that something is relied on from now; false if it is not there.
    pub(crate) async fn touch(&self, key: &Key) -> Result<bool, Error> {
        match self {
            Storage::Disk(disk) => disk.touch(key).await,
            Storage::Objects(objects) => objects.touch(key).await,
        }
    }

    /// Names in a folder after one, in order; empty where there is no folder.
    pub(crate) async fn names(
        &self,
        folder: Folder<'_>,
        after: &str,
        most: usize,
    ) -> Result<Vec<String>, Error> {
        match self {
            Storage::Disk(disk) => disk.names(folder.path(), after, most).await,
            Storage::Objects(objects) => objects.names(folder, after, most).await,
        }
    }

    /// All that is in a folder.
    pub(crate) async fn entries(&self, folder: Folder<'_>) -> Result<Vec<(String, Stat)>, Error> {
        match self {
            Storage::Disk(disk) => disk.entries(folder.path()).await,
            Storage::Objects(objects) => objects.entries(folder).await,
        }
    }

    /// Whether the folder is there.
    pub(crate) async fn has(&self, name: &Name) -> Result<bool, Error> {
        match self {
            Storage::Disk(disk) => disk.has_folder(Folder::Repository(name).path()).await,
            Storage::Objects(objects) => objects.has(Folder::Repository(name)).await,
        }
    }

    /// Content to be sent; none if it is not there.
    pub(crate) async fn open(&self, key: &Key) -> Result<Option<Content>, Error> {
        match self {
            Storage::Disk(disk) => disk.open_content(key).await,
            Storage::Objects(objects) => objects.open_content(key).await,
        }
    }

    /// Makes a spooled file, which is synced, the content of a key.
    pub(crate) async fn adopt(&self, spooled: &str, key: &Key) -> Result<(), Error> {
        match self {
            Storage::Disk(disk) => disk.adopt(spooled, key).await,
            Storage::Objects(objects) => objects.adopt(spooled, key).await,
        }
    }

    /// What the digits of blobs begin with, for whoever goes through all of them part by part.
    pub(crate) fn shards(&self) -> Vec<String> {
        match self {
            Storage::Disk(_) => (0..=u8::MAX).map(|first| format!("{first:02x}")).collect(),
            // A list costs a request.
            Storage::Objects(_) => (0..16).map(|first| format!("{first:x}")).collect(),
        }
    }

    /// Whether to adopt something takes long: nobody is to wait for that.
    pub(crate) fn is_far(&self) -> bool {
        matches!(self, Storage::Objects(_))
    }

    /// Until this is dropped everybody else waits.
    pub(crate) async fn hold_alone(&self) -> Result<Hold, Error> {
        match self {
            Storage::Disk(disk) => disk.lock(true).await.map(Hold::Disk),
            Storage::Objects(objects) => Ok(Hold::Objects(objects.hold_alone().await)),
        }
    }

    /// Whether it is known what was relied on for as long as this.
    pub(crate) fn remembers(&self, grace: Duration) -> bool {
        match self {
            Storage::Disk(_) => true,
            Storage::Objects(objects) => objects.remembers(grace),
        }
    }

    /// Removes what there is of a repository without blobs, manifests and tags; false if it has some again.
    pub(crate) async fn remove_repository(&self, name: &Name) -> Result<bool, Error> {
        let _hold = self.hold_alone().await?;
        match self {
            Storage::Disk(disk) => disk.remove_folders(Folder::Repository(name).path()).await,
            // What has no objects is not there.
            Storage::Objects(_) => Ok(false),
        }
    }

    /// Ends what was begun elsewhere and left; says how much that was.
    pub(crate) async fn tidy(&self) -> Result<usize, Error> {
        match self {
            Storage::Disk(_) => Ok(0),
            Storage::Objects(objects) => objects.tidy().await,
        }
    }

    /// Until this is dropped nothing is swept: what was looked up stays as it is.
    pub(crate) async fn hold(&self) -> Result<Hold, Error> {
        match self {
            Storage::Disk(disk) => disk.lock(false).await.map(Hold::Disk),
            Storage::Objects(objects) => Ok(Hold::Objects(objects.hold().await)),
        }
    }
}
