//! Content-addressed blobs, layers, root file system descriptions, leases and garbage collection.
//!
//! Owns this tree, below the platform's root directory:
//!
//! ```text
//! blobs/<algorithm>/<hex>    immutable, named by the digest of their bytes
//! layers/<chain hex>/        one unpacked layer, immutable
//!     diff/                      its files, in overlayfs' form; or
//!     layer.erofs                an image of them (see `form`)
//!     layer.json                 its diff id, parent, sizes, and the layer that it lies over (see `over`)
//!     files                      what its maker noted about its files, where that was of use
//! ingest/<lease>-<n>         work in progress: files and directories that get a name above when they are whole
//! ingest/partial-<digest>    the first bytes of a blob that somebody has begun to fetch; see `partial`
//! quarantine/<seconds>-…     what turned out to be damaged; see `quarantine`
//! leases/<lease>             a file whose lock its process holds
//! ```
//!
//! What exists above is whole: it was written below `ingest`, made durable, then renamed (see `batch`). So a crash at any
//! instruction leaves garbage below `ingest` and nothing else, and [`Store::gc`] removes it. Content lives as
//! long as something refers to it: an image, a tag, a container, a build cache record (rows of the database) or a
//! [`Lease`], which is how work in progress holds on to what it has made or found until a row refers to it.
//!
//! Many processes use one store. Publishing pins and renames inside a write transaction of the database and collecting
//! decides and removes inside one, so neither sees the other halfway.
//!
//! Digests are checked when content is written, and when a document is read; [`Store::check`] checks all of it.
//! Knows digests, layers and mounts; knows no container and no registry.

mod archives;
mod batch;
mod blobs;
mod changes;
mod check;
mod durable;
mod error;
mod form;
mod gc;
mod images;
mod layers;
mod lease;
mod members;
mod over;
mod pack;
mod partial;
mod quarantine;
mod side_by_side;
mod usage;
mod used;
mod users;
mod verify;

pub use batch::Batch;
pub use blobs::BlobWriter;
pub use changes::{Change, ChangeKind};
pub use check::{Examination, Finding};
pub use error::Error;
pub use form::Form;
pub use gc::Collected;
pub use images::{Claim, Image, NewImage, Put, oci_layer};
pub use layers::{Layer, Over, Unpacked};
pub use lease::{Lease, are_held};
pub use members::Members;
pub use over::{Packed, Writing, each_once};
pub use pack::{TOC_DIGEST, packed};
pub use partial::{Fetch, KEPT, Partial, Underway};
pub use side_by_side::side_by_side;
pub use usage::Usage;

use archive::Limits;
use oci::Digest;
use state::Db;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// The content store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    db: Db,
    limits: Limits,
    form: Form,
    /// Whether images can be used here, once somebody had to know.
    takes_images: OnceLock<bool>,
    /// What blobs were seen to decompress to, until an image that has them is recorded.
    archives: Mutex<BTreeMap<Digest, Digest>>,
}

const DIRECTORIES: [&str; 5] = ["blobs/sha256", "blobs/sha512", "layers", "ingest", "leases"];

impl Store {
    /// Opens the store below `root` and makes its directories if they are missing.
    pub fn open(root: impl AsRef<Path>, db: &Db) -> Result<Store, Error> {
        Store::open_limited(root, db, Limits::default())
    }

    /// Opens the store; a layer may cost so much.
    pub fn open_limited(root: impl AsRef<Path>, db: &Db, limits: Limits) -> Result<Store, Error> {
        Store::open_as(root, db, limits, Form::default())
    }

    /// Opens the store; layers that come from elsewhere take this form.
    pub fn open_as(root: impl AsRef<Path>, db: &Db, limits: Limits, form: Form) -> Result<Store, Error> {
        let store = Store::unopened(root, db, limits, form);
        store.make_directories()?;
        Ok(store)
    }

    /// A store that may never be needed: [`Store::make_directories`] comes before anything is put into it.
    pub fn unopened(root: impl AsRef<Path>, db: &Db, limits: Limits, form: Form) -> Store {
        let (root, db) = (root.as_ref().to_path_buf(), db.clone());
        let (takes_images, archives) = (OnceLock::new(), Mutex::default());
        Store { shared: Arc::new(Shared { root, db, limits, form, takes_images, archives }) }
    }

    /// What [`Store::open_limited`] does with the disk.
    pub fn make_directories(&self) -> Result<(), Error> {
        for directory in DIRECTORIES {
            let path = self.shared.root.join(directory);
            if !path.is_dir() {
                // Layers hold other people's set-user-id programs: nobody else may come near them.
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&path)
                    .map_err(Error::io("make", &path))?;
            }
        }
        Ok(())
    }

    /// The platform's root directory.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// What a layer may cost.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// The database that has the references.
    pub fn db(&self) -> &Db {
        &self.shared.db
    }

    fn ingest_dir(&self) -> PathBuf {
        self.shared.root.join("ingest")
    }

    fn leases_dir(&self) -> PathBuf {
        self.shared.root.join("leases")
    }

    fn layers_dir(&self) -> PathBuf {
        self.shared.root.join("layers")
    }

    fn blob_dir(&self, algorithm: &str) -> PathBuf {
        self.shared.root.join("blobs").join(algorithm)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_dir(digest.algorithm()).join(digest.hex())
    }
}

/// One of a list: its name, and what it is or why that can't be read. One damaged object doesn't hide the others.
pub type Listed<N, T> = (N, Result<T, Error>);

/// Makes a rename into or out of this directory durable.
fn sync_dir(path: &Path) -> Result<(), Error> {
    let failed = || Error::io("sync", path);
    std::fs::File::open(path).map_err(failed())?.sync_all().map_err(failed())
}

/// Now, as the documents write it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests;
