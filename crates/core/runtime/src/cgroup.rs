//! Control groups, version 2, 1 and both side by side (hybrid).
//!
//! A container has one path (`/dhow/<id>`) in every hierarchy that the machine has mounted. Limits are applied where the
//! controller lives; a controller that is missing is a warning if a limit was asked of it, as Docker warns and discards.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use oci::runtime::Resources;

mod stats;

pub use stats::{BlkioEntry, BlkioStats, CpuStats, HugetlbStats, MemoryStats, PidsStats, Stats};

/// A refused control group operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{attempt}")]
    Call { attempt: String, source: io::Error },
    #[error("invalid control group path {path:?}")]
    Path { path: String },
}

/// The control group of one container: the same path in every hierarchy of the machine. Making the value touches nothing;
/// it can be made again from its path in any process.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: String,
}

/// Tells when a task of the group was killed for want of memory: poll it for reading, then call [`OomEvents::drain`].
#[derive(Debug)]
pub struct OomEvents {
    fd: OwnedFd,
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn later<T>() -> Result<T, Error> {
    Err(Error::Call { attempt: "control groups".to_owned(), source: io::ErrorKind::Unsupported.into() })
}

impl Cgroup {
    /// Looks at what the machine has mounted. `path` is absolute, below the root of each hierarchy.
    pub fn new(path: &str) -> Result<Cgroup, Error> {
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(Error::Path { path: path.to_owned() });
        }
        Ok(Cgroup { path: path.to_owned() })
    }

    /// Its path below the root of each hierarchy.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Makes the directories; existing ones are taken over.
    pub fn create(&self) -> Result<(), Error> {
        later()
    }

    /// Sets limits, also of a running container; `None` fields stay as they are. Gives warnings.
    pub fn apply(&self, _resources: &Resources) -> Result<Vec<String>, Error> {
        later()
    }

    /// Moves a process of this pid namespace into the group.
    pub fn add(&self, _pid: i32) -> Result<(), Error> {
        later()
    }

    /// The processes in the group and the groups below it, as this pid namespace numbers them.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        later()
    }

    /// Sends SIGKILL to all processes of the group and those below; returns before they are gone.
    pub fn kill_all(&self) -> Result<(), Error> {
        later()
    }

    /// Stops all tasks and waits until they have stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        later()
    }

    pub fn thaw(&self) -> Result<(), Error> {
        later()
    }

    pub fn is_frozen(&self) -> Result<bool, Error> {
        later()
    }

    pub fn stats(&self) -> Result<Stats, Error> {
        later()
    }

    pub fn oom_events(&self) -> Result<OomEvents, Error> {
        later()
    }

    /// Removes the group and those below it, waiting until at most `patience` for the last process to go. A group that is
    /// absent is removed.
    pub fn delete(&self, _patience: Duration) -> Result<(), Error> {
        later()
    }
}

impl OomEvents {
    /// Takes what has arrived; the number of kills since the last call. Never blocks.
    pub fn drain(&mut self) -> io::Result<u64> {
        Ok(0)
    }
}
