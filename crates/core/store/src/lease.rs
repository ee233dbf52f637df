//! Leases: holding on to content while nothing else refers to it yet.
//!
//! A lease is a row, so that the collector sees its pins, and a file whose exclusive lock the process holds, so
//! that the collector sees whether the process still lives. The kernel drops the lock with the process, however
//! that ends. Life: `lease()` → pins and ingests → drop (row, file and unfinished ingests go), or → the process
//! dies → whoever takes the next lease, or the next collection, takes all of it away. Images that are only lent go
//! with the last lease that pins their manifests.

use crate::{Error, Store};
use archive::Guard;
use oci::Digest;
use rustix::fs::FlockOperation;
use state::leases;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many this process has.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Whether this process holds any: who ends it before they are dropped leaves them to others to clear up.
pub fn are_held() -> bool {
    HELD.load(Ordering::SeqCst) > 0
}

/// Keeps what it pins from being collected until it is dropped.
pub struct Lease {
    store: Store,
    id: String,
    next: AtomicU64,
    /// Says that nobody waits for the work any more.
    is_over: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    _lock: File,
}

impl Store {
    /// Whether the process that took the lease of this id lives: what it named after the lease is in use.
    pub fn lease_is_alive(&self, id: &str) -> Result<bool, Error> {
        is_alive(&self.leases_dir().join(id))
    }

    /// Takes a lease; `purpose` is for people who look.
    pub fn lease(&self, purpose: &str) -> Result<Lease, Error> {
        self.bury_dead();
        loop {
            let id = format!("{:016x}", fastrand::u64(..));
            let path = self.leases_dir().join(&id);
            let failed = || Error::io("make lease", &path);
            let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
            let file = match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(failed())?,
            };
            // A collector may have come between, which holds the lock for a moment: then the file that we hold has no
            // name any more.
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
                .map_err(|error| failed()(error.into()))?;
            if file.metadata().map_err(failed())?.nlink() == 0 {
                continue;
            }
            self.db().write_fleeting(|tx| leases::add(tx, &id, purpose))?;
            HELD.fetch_add(1, Ordering::SeqCst);
            return Ok(Lease {
                store: self.clone(),
                id,
                next: AtomicU64::new(0),
                is_over: OnceLock::new(),
                _lock: file,
            });
        }
    }

    /// Takes away what killed processes had in progress, usually nothing: one look at a directory. Whatever goes wrong
    /// here is what the collector is for.
    pub fn bury_dead(&self) {
        let Ok(leases) = std::fs::read_dir(self.leases_dir()) else { return };
        for lease in leases.flatten() {
            let id = lease.file_name().to_string_lossy().into_owned();
            bury_with(&lease.path(), || self.forget(&id)).ok();
        }
    }

    /// Removes what a lease has in progress, then what it pins: on a full disk the first must not need the second.
    fn forget(&self, id: &str) -> Result<(), Error> {
        let ingest = self.ingest_dir();
        for entry in std::fs::read_dir(&ingest).map_err(Error::io("list", &ingest))?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().split('-').next() == Some(id) {
                remove(&entry.path())?;
            }
        }
        self.db().write_fleeting(|tx| leases::remove(tx, id))?;
        Ok(())
    }
}

impl Lease {
    /// Its id, with which its work in progress begins.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Holds on to this blob, manifest or chain id, whether it is there or not.
    pub fn pin(&self, target: &Digest) -> Result<(), Error> {
        Ok(self.store.db().write_fleeting(|tx| leases::pin(tx, &self.id, target))?)
    }

    /// The same of many.
    pub fn pin_all<'d>(&self, targets: impl IntoIterator<Item = &'d Digest>) -> Result<(), Error> {
        let targets: Vec<&Digest> = targets.into_iter().collect();
        let pin =
            |tx: &state::Tx<'_>| targets.iter().try_for_each(|target| leases::pin(tx, &self.id, target));
        Ok(self.store.db().write_fleeting(pin)?)
    }

    /// Holds on to nothing any more; whether images that were only lent went with that. What they consisted of is to be collected
    /// then.
    pub fn end(&self) -> Result<bool, Error> {
        Ok(self.store.db().write_fleeting(|tx| leases::remove(tx, &self.id))?)
    }

    /// Stops the unpacking and the packing for this lease as soon as `is_over` says so. The first call counts.
    pub fn stop_when(&self, is_over: impl Fn() -> bool + Send + Sync + 'static) {
        self.is_over.get_or_init(|| Box::new(is_over));
    }

    /// A decompressed archive that ends with an error when it is longer than a layer may be, or unwanted.
    pub fn guard<R: Read>(&self, archive: R) -> Guard<R, impl Fn() -> bool + Send> {
        Guard::new(archive, self.store.limits().stream(), || self.is_over())
    }

    /// A sink that takes nothing more when what goes there is unwanted.
    pub fn watch<W: Write>(&self, sink: W) -> Watched<'_, W> {
        Watched { sink, lease: self }
    }

    /// Whether what is done under it is unwanted by now.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get().is_some_and(|is_over| is_over())
    }

    /// How much may come from strangers.
    pub fn limits(&self) -> archive::Limits {
        self.store.limits()
    }

    /// A new name below `ingest`: what is made there goes with the lease.
    pub fn scratch(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.store.ingest_dir().join(format!("{}-{number}", self.id))
    }
}

/// See [`Lease::watch`].
pub struct Watched<'l, W> {
    sink: W,
    lease: &'l Lease,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        archive::wanted(self.lease.is_over())?;
        self.sink.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Whatever goes wrong here is what the collector is for. The file goes last: while it is locked nobody
        // else takes the lease for dead.
        for number in 0..self.next.load(Ordering::Relaxed) {
            remove(&self.store.ingest_dir().join(format!("{}-{number}", self.id))).ok();
        }
        self.store.db().write_fleeting(|tx| leases::remove(tx, &self.id)).ok();
        std::fs::remove_file(self.store.leases_dir().join(&self.id)).ok();
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the process that holds this lease lives. The lock is tried as a shared one: two who look at once must not
/// take each other for it.
pub(crate) fn is_alive(path: &Path) -> Result<bool, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::io("open lease", path))?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(Error::io("lock lease", path)(error.into())),
    }
}

/// Removes the file of a lease if its process is dead. The lock is held meanwhile: somebody who is making a lease with
/// this file then sees that he has lost it.
pub(crate) fn bury(path: &Path) -> Result<(), Error> {
    bury_with(path, || Ok(()))
}

/// The same, after something that only its process may do otherwise.
fn bury_with(path: &Path, first: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("open lease", path))?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            first()?;
            remove(path)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(Error::io("lock lease", path)(error.into())),
    }
}

/// Removes a file or a tree of any depth; what is absent is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let failed = || Error::io("remove", path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let root = sys::root::Root::open(parent).map_err(failed())?;
    root.remove_all(name).map_err(failed())
}
