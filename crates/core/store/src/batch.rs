//! Content that gets its names together: blobs and layers wait below `ingest`, whole, until all of them are made durable and
//! named at once. An image of many layers then waits once for the disk, and not for each of its parts; and what belongs
//! together is there together or not at all.
//!
//! Life of a part: written → added, when who has the batch can use it under its digest or chain → [`Batch::publish`]: synced, then
//! named and pinned by the lease, for all. What is dropped before that goes, but for the parts of a blob that were to be kept (see
//! [`crate::partial`]).
//!
//! The disk begins its work early: who writes says how much ([`Batch::wrote`]), and from time to time a thread of its own
//! syncs, so that little is left to wait for at the end.

use crate::images::parsed;
use crate::layers::Unpacked;
use crate::{BlobWriter, Error, Layer, Lease, Partial, Store, Underway, durable, sync_dir};
use oci::image::{Document, MANIFEST_MAX};
use oci::{ChainId, Digest};
use rustix::io::Errno;
use state::leases;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sys::root::Root;

/// Bytes after which the disk is set to work.
const EARLY: u64 = 64 << 20;

/// Content that is whole and has no name yet, of one lease.
pub struct Batch {
    store: Store,
    lease: Arc<Lease>,
    waiting: Mutex<Waiting>,
    disk: Arc<Disk>,
}

#[derive(Default)]
struct Waiting {
    blobs: HashMap<Digest, Whole>,
    /// Each after the one below it.
    layers: Vec<(Layer, PathBuf)>,
}

/// A blob that is whole. Dropping it removes it, unless it is to be kept for whoever wants this blob next.
pub(crate) struct Whole {
    pub path: PathBuf,
    /// Its lock, if it has one, is held until it has its name.
    pub file: File,
    pub length: u64,
    pub keep: bool,
    /// Whether the file system knows already that nobody changes it any more. It learns of it when nobody has it open to write:
    /// not before its lock is of no use.
    pub sealed: bool,
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.keep {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl Store {
    /// Begins a batch with nothing in it.
    pub fn batch(&self, lease: &Arc<Lease>) -> Result<Batch, Error> {
        let ingest = self.ingest_dir();
        let directory = File::open(&ingest).map_err(Error::io("open", ingest))?;
        let disk = Disk {
            directory,
            written: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            failed: Mutex::default(),
        };
        Ok(Batch {
            store: self.clone(),
            lease: lease.clone(),
            waiting: Mutex::default(),
            disk: Arc::new(disk),
        })
    }
}

impl Batch {
    /// The lease that holds what it uses and names.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // It is never left between two states.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that so much was written below `ingest`.
    pub fn wrote(&self, bytes: u64) {
        self.disk.wrote(bytes);
    }

    /// Adds a blob; its digest and length. If they aren't what was expected, nothing is kept.
    pub fn add_blob(&self, blob: BlobWriter<'_>, expected: Option<&Digest>) -> Result<(Digest, u64), Error> {
        let (digest, whole) = blob.whole(expected)?;
        Ok((digest.clone(), self.add(digest, whole)))
    }

    /// Adds a blob that has come from afar.
    pub fn add_partial(&self, partial: Partial<'_>) -> Result<u64, Error> {
        let (digest, whole) = partial.whole()?;
        Ok(self.add(digest, whole))
    }

    /// Adds a copy of a blob of which somebody else has all, though it has no name yet.
    pub fn add_copy(&self, underway: &Underway, digest: &Digest) -> Result<u64, Error> {
        let mut writer = self.store.ingest(&self.lease)?;
        underway.copy_to(&mut writer)?;
        self.wrote(writer.length());
        Ok(self.add_blob(writer, Some(digest))?.1)
    }

    fn add(&self, digest: Digest, whole: Whole) -> u64 {
        let length = whole.length;
        let before = self.waiting().blobs.insert(digest, whole);
        if let Some(mut before) = before {
            // The same bytes.
            before.keep = false;
        }
        length
    }

    /// Adds these bytes.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::sha256(bytes);
        // A damaged one is written anew.
        if self.use_blob(&digest)?.is_some()
            && self.read_blob(&digest, bytes.len() as u64).is_ok_and(|here| here == bytes)
        {
            return Ok(digest);
        }
        let mut writer = self.store.ingest(&self.lease)?;
        writer.write_all(bytes).map_err(Error::io("write a blob below", self.store.ingest_dir()))?;
        Ok(self.add_blob(writer, Some(&digest))?.0)
    }

    /// The length of a blob that from now on stays as long as the lease; none if it is neither here nor in the store.
    pub fn use_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        if let Some(whole) = self.waiting().blobs.get(digest) {
            return Ok(Some(whole.length));
        }
        self.store.use_blob(&self.lease, digest)
    }

    /// The length of a blob, none if it is neither here nor in the store.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.waiting().blobs.get(digest) {
            Some(whole) => Ok(Some(whole.length)),
            None => self.store.blob_size(digest),
        }
    }

    /// Opens a blob to read. Its bytes are not checked: use [`Batch::read_blob`] for documents.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let waiting = self.waiting();
        match waiting.blobs.get(digest) {
            Some(whole) => File::open(&whole.path).map_err(Error::io("open", &whole.path)),
            None => self.store.open_blob(digest),
        }
    }

    /// The bytes of a blob of at most `limit` bytes, checked against its digest.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let file = self.open_blob(digest)?;
        self.store.read_checked(file, digest, limit)
    }

    /// A manifest or an index.
    pub fn document(&self, digest: &Digest) -> Result<Document, Error> {
        parsed(digest, &self.read_blob(digest, MANIFEST_MAX)?)
    }

    /// The layer of this chain, here or in the store, where it stays as long as the lease.
    pub fn use_layer(&self, chain: &ChainId) -> Result<Option<Layer>, Error> {
        if let Some((layer, _)) = self.waiting().layer(chain) {
            return Ok(Some(layer.clone()));
        }
        self.store.use_layer(&self.lease, chain)
    }

    /// Adds a layer on top of `parent`, which is here or in the store.
    pub fn add_layer(&self, parent: Option<&ChainId>, unpacked: Unpacked) -> Result<Layer, Error> {
        let chain = ChainId::on(parent, &unpacked.diff_id);
        if let Some((layer, _)) = self.waiting().layer(&chain) {
            let layer = layer.clone();
            crate::lease::remove(&unpacked.directory)?;
            return Ok(layer);
        }
        if self.store.use_layer(&self.lease, &chain)?.is_some() {
            return self.store.publish(&self.lease, parent, unpacked);
        }
        let (layer, directory) = self.store.ready(parent, unpacked, || self.roots(parent))?;
        self.waiting().layers.push((layer.clone(), directory));
        Ok(layer)
    }

    /// The roots of a chain, topmost first.
    fn roots(&self, chain: Option<&ChainId>) -> Result<Vec<Root>, Error> {
        let (mut roots, mut next) = (Vec::new(), chain.cloned());
        let waiting = self.waiting();
        while let Some(chain) = next.take() {
            let Some((layer, directory)) = waiting.layer(&chain) else {
                roots.extend(self.store.roots(Some(&chain))?);
                break;
            };
            let files = directory.join(crate::form::name(layer));
            roots.push(sys::mount::layer_root(&files).map_err(Error::io("open", &files))?);
            next.clone_from(&layer.parent);
        }
        Ok(roots)
    }

    /// Makes all that was added durable, then visible to all, pinned by the lease.
    pub fn publish(&self) -> Result<(), Error> {
        let waiting = std::mem::take(&mut *self.waiting());
        if waiting.blobs.is_empty() && waiting.layers.is_empty() {
            return Ok(());
        }
        self.sync(&waiting)?;
        let Waiting { mut blobs, layers } = waiting;
        let surplus = self.store.db().write_fleeting(|tx| {
            for (digest, whole) in &mut blobs {
                leases::pin(tx, self.lease.id(), digest)?;
                let target = self.store.blob_path(digest);
                // Another process may have been first; its bytes are the same.
                std::fs::rename(&whole.path, &target).map_err(Error::io("rename to", &target))?;
                whole.keep = true;
            }
            let mut surplus = Vec::new();
            for (layer, directory) in &layers {
                if !self.store.name_now(tx, &self.lease, directory, layer)? {
                    surplus.push(directory);
                }
            }
            Ok::<_, Error>(surplus)
        })?;
        surplus.into_iter().try_for_each(|directory| crate::lease::remove(directory))?;
        let algorithms: BTreeSet<_> = blobs.keys().map(Digest::algorithm).collect();
        algorithms.into_iter().try_for_each(|algorithm| sync_dir(&self.store.blob_dir(algorithm)))?;
        if !layers.is_empty() {
            sync_dir(&self.store.layers_dir())?;
        }
        blobs.into_iter().filter(|(_, whole)| !whole.sealed).try_for_each(|(digest, whole)| {
            let target = self.store.blob_path(&digest);
            let file = File::open(&target).map_err(Error::io("open", &target))?;
            drop(whole);
            sys::verity::seal(&file).map(drop).map_err(Error::io("seal", &target))
        })
    }

    fn sync(&self, waiting: &Waiting) -> Result<(), Error> {
        let directories: Vec<&Path> =
            waiting.layers.iter().map(|(_, directory)| directory.as_path()).collect();
        let files: Vec<&File> = waiting.blobs.values().map(|whole| &whole.file).collect();
        let failed = |error: Errno| Error::io("sync", self.store.ingest_dir())(error.into());
        // What went wrong early was told then and there alone.
        self.disk.outcome().map_err(failed)?;
        match durable::each(&files, &directories)? {
            true => Ok(()),
            false => self.disk.sync().map_err(failed),
        }
    }
}

impl Waiting {
    fn layer(&self, chain: &ChainId) -> Option<&(Layer, PathBuf)> {
        self.layers.iter().find(|(layer, _)| layer.chain_id == *chain)
    }
}

/// The file system of the store.
struct Disk {
    /// Open since before anything was written: the kernel tells of each failure once to each who has it open.
    directory: File,
    /// Bytes since it was last set to work.
    written: AtomicU64,
    busy: AtomicBool,
    /// Locked while it is at work.
    failed: Mutex<Option<Errno>>,
}

impl Disk {
    fn wrote(self: &Arc<Self>, bytes: u64) {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes < EARLY
            || self.busy.swap(true, Ordering::Relaxed)
        {
            return;
        }
        self.written.store(0, Ordering::Relaxed);
        let disk = self.clone();
        let work = move || {
            let mut failed = disk.failed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = disk.sync() {
                failed.get_or_insert(error);
            }
            disk.busy.store(false, Ordering::Relaxed);
        };
        // Without a thread all is left to the end.
        let _ = std::thread::Builder::new().spawn(work);
    }

    fn sync(&self) -> Result<(), Errno> {
        rustix::fs::syncfs(&self.directory)
    }

    /// What came of the work until now.
    fn outcome(&self) -> Result<(), Errno> {
        (*self.failed.lock().unwrap_or_else(PoisonError::into_inner)).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
