//! One build at a time makes a step: whoever comes second, in this process or another, waits and takes what the first made.
//!
//! A turn is the lock of a file below `<root>/steps`, named by the step's key; it goes with its holder, however that ends.
//! Who waits in the same process is counted besides: a build that is cancelled leaves its step running for them.

use crate::error::Error;
use crate::event::Stream;
use crate::graph::Op;
use crate::progress::Step;
use crate::session::{Session, io_error};
use crate::shared_output::{Hearing, Telling};
use oci::Digest;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a build that waits looks whether it is its turn, or was cancelled.
const POLL: Duration = Duration::from_millis(20);

/// How many builds of this process wait for whoever holds a lock.
static WAITING: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// A build that waits for another one's step, until it is dropped.
struct Waiting(PathBuf);

impl Waiting {
    fn new(path: &Path) -> Self {
        *waiting().entry(path.to_owned()).or_default() += 1;
        Self(path.to_owned())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = waiting();
        if let Entry::Occupied(mut count) = waiting.entry(std::mem::take(&mut self.0)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn waiting() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those who wait for a step, and are told what it prints.
#[derive(Debug)]
pub(crate) struct Others {
    path: PathBuf,
    told: Mutex<Option<Telling>>,
}

impl Others {
    /// Whether a build of this process waits for it.
    pub fn wait(&self) -> bool {
        waiting().contains_key(&self.path)
    }

    /// Passes output of the step on to them. It is no failure of the step if that fails.
    pub fn tell(&self, stream: Stream, text: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_mut().is_some_and(|told| told.write(stream, text).is_err()) {
            *told = None;
        }
    }
}

/// The right to make a step, until it is dropped.
pub(crate) struct Turn {
    /// Somebody else had it before: what was not in the cache may be there now.
    pub waited: bool,
    held: (PathBuf, File),
}

impl Turn {
    /// Waits for the turn at what has this key. A step that takes nothing from the cache has its own: whoever finds the file
    /// of a dead one knows that there is more to clear up.
    pub fn take(session: &Session<'_>, op: &Op, key: &Digest, step: &Step<'_, '_>) -> Result<Self, Error> {
        let directory = session.env.store.root().join("steps");
        let path = match op.no_cache {
            true => directory.join(format!("{}-{:016x}", session.lease.id(), fastrand::u64(..))),
            false => directory.join(key.hex()),
        };
        let mut waiting = None;
        let mut heard = Hearing::default();
        let mut say = |stream, text| step.log(stream, text);
        loop {
            if let Some(file) = lock(&directory, &path, FlockOperation::NonBlockingLockExclusive)? {
                heard.pass(&mut say);
                return Ok(Self { waited: waiting.is_some(), held: (path, file) });
            }
            if waiting.is_none() {
                waiting = Some(Waiting::new(&path));
                say(Stream::Stderr, "another build is at this step: waiting for its result\n".into());
            }
            heard.look(&path, &mut say);
            if session.stopped() {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Those who wait for this one to be over.
    pub fn others(&self) -> Others {
        let path = self.held.0.clone();
        Others { told: Mutex::new(Telling::new(&path).ok()), path }
    }
}

/// The lock of a directory that stays between builds: it lies beside it.
pub(crate) fn lock_of(base: &Path, name: &str) -> PathBuf {
    base.join(format!("{name}.lock"))
}

/// The locked file at `path` in `directory`; none if somebody else has it. Who holds it alone may remove it.
pub(crate) fn lock(directory: &Path, path: &Path, how: FlockOperation) -> Result<Option<File>, Error> {
    let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).clone();
    let file = match options.open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(io_error("make", directory))?;
            options.open(path)
        }
        other => other,
    };
    let file = file.map_err(io_error("open", path))?;
    match rustix::fs::flock(&file, how) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(io_error("lock", path)(e.into())),
    }
    // Its last holder removed it before letting go: then there is another one of its name, or none.
    let status = file.metadata().map_err(io_error("look at", path))?;
    let is_there = |at: Metadata| (at.dev(), at.ino()) == (status.dev(), status.ino());
    Ok(std::fs::symlink_metadata(path).is_ok_and(is_there).then_some(file))
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the lock is let go, which happens when the file is closed.
        let _ = std::fs::remove_file(&self.held.0);
    }
}
