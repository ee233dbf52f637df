//! `status.json`: what is true of a container now, written by its monitor only, read by anyone.
//!
//! The file is replaced by rename, so a reader sees a whole document. It is versioned like [`crate::Config`]. Times are UTC
//! with nanoseconds.
//!
//! How a container ended that is removed at its end is of no use after the machine's uptime: that status is in the container's
//! run directory, and hides the other. Replacing a file on a disk costs more than a file in memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The version of [`Status`] that this crate writes.
pub const STATUS_VERSION: u32 = 1;

const FILE: &str = "status.json";
const TEMPORARY: &str = ".status.json.new";
/// Disk space for the status at the end of a container that has filled the disk.
const RESERVE: &str = ".status.json.reserve";
const RESERVED: u64 = 16 << 10;

/// The exit code of a container whose end nobody saw: it was killed with its monitor.
const LOST_EXIT_CODE: i32 = 137;

/// A container's state, in Docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Never ran, or its first start failed.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Exited, and waits for its restart.
    Restarting,
    /// Exited.
    Exited,
    /// Could not be removed.
    Dead,
}

impl State {
    /// Whether a monitor must be alive for this to be true. As in Docker, a restarting container counts.
    pub fn is_live(self) -> bool {
        matches!(self, State::Running | State::Paused | State::Restarting)
    }
}

/// The document of `status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// Where in its life the container is.
    pub state: State,
    /// The init's pid in the engine's namespace; 0 when none runs.
    #[serde(default)]
    pub pid: i32,
    /// Last start; `None` if never started.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Last exit; `None` if it never exited.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// Exit code, or 128 + signal; of a failed start 127, 126 or 128.
    #[serde(default)]
    pub exit_code: i32,
    /// The kernel killed a process of the last run for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why the last start failed; empty otherwise.
    #[serde(default)]
    pub error: String,
    /// Restarts made by the policy since the last start by hand.
    #[serde(default)]
    pub restart_count: u32,
    /// Somebody asked for the last exit, so `unless-stopped` must not start it at boot.
    #[serde(default)]
    pub manually_stopped: bool,
    /// `None` without a health check.
    #[serde(default)]
    pub health: Option<HealthRecord>,
}

impl Default for Status {
    fn default() -> Status {
        Status {
            version: STATUS_VERSION,
            state: State::Created,
            pid: 0,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            restart_count: 0,
            manually_stopped: false,
            health: None,
        }
    }
}

/// What the health check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRecord {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last five probes, oldest first.
    pub log: Vec<HealthLog>,
}

/// The verdicts of a health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No probe has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The last probe succeeded, or too few failed since.
    Healthy,
    /// Enough probes failed in a row, or the container does not run any more.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthLog {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 is healthy; -1 means that it could not run or took too long.
    pub exit_code: i32,
    /// At most 4096 bytes of its output.
    pub output: String,
}

/// How reading or writing `status.json` fails.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The file could not be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("parse {path}")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file could not be replaced.
    #[error("replace {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Status {
    /// Reads a container's status from its two directories; `None` if it never had a monitor.
    pub fn read(container_dir: &Path, run_dir: &Path) -> Result<Option<Status>, StatusError> {
        match Status::read_in(run_dir)? {
            None => Status::read_in(container_dir),
            status => Ok(status),
        }
    }

    fn read_in(dir: &Path) -> Result<Option<Status>, StatusError> {
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|source| StatusError::Parse { path, source })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StatusError::Read { path, source }),
        }
    }

    /// Replaces the status in a container's directory. With `durable` it survives a power loss once this returns.
    pub fn write(&self, container_dir: &Path, durable: bool) -> Result<(), StatusError> {
        self.replace(container_dir, durable)
            .map_err(|source| StatusError::Write { path: container_dir.join(FILE), source })
    }

    /// Replaces the status of a container that is removed at its end, and outlives no more than that.
    pub fn write_fleeting(&self, container_dir: &Path, run_dir: &Path) -> Result<(), StatusError> {
        let failed = |dir: &Path| {
            let path = dir.join(FILE);
            move |source| StatusError::Write { path, source }
        };
        if !self.state.is_live() {
            return open(run_dir)
                .and_then(|dir| self.put(dir.as_fd(), TEMPORARY, false))
                .map_err(failed(run_dir));
        }
        // After a power failure it must be known that it ran: this one is on the disk.
        open(container_dir)
            .and_then(|dir| self.put(dir.as_fd(), TEMPORARY, false))
            .map_err(failed(container_dir))?;
        match std::fs::remove_file(run_dir.join(FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(run_dir)(e)),
            _ => Ok(()),
        }
    }

    fn replace(&self, container_dir: &Path, durable: bool) -> io::Result<()> {
        let directory = open(container_dir)?;
        match self.put(directory.as_fd(), TEMPORARY, durable) {
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                // What little of it was written must not take the space of what is next.
                let _ = rustix::fs::unlinkat(&directory, TEMPORARY, AtFlags::empty());
                self.put(directory.as_fd(), RESERVE, durable)?;
            }
            result => result?,
        }
        if self.state.is_live() {
            // Without it all goes well until the disk is full.
            let _ = reserve(directory.as_fd());
        }
        Ok(())
    }

    /// Writes the status into the file `name`, which becomes the status' file.
    fn put(&self, directory: BorrowedFd<'_>, name: &str, durable: bool) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&text)?;
        file.set_len(text.len() as u64)?;
        if durable {
            file.sync_data()?;
        }
        rustix::fs::renameat(directory, name, directory, FILE)?;
        if durable {
            rustix::fs::fsync(directory)?;
        }
        Ok(())
    }

    /// The same container as it is once its monitor was killed: dead since nobody knows when, code 137.
    pub fn lost(&self) -> Status {
        let mut lost = self.clone();
        lost.pid = 0;
        if self.state != State::Restarting {
            lost.exit_code = LOST_EXIT_CODE;
            lost.finished_at = self.started_at;
        }
        lost.state = State::Exited;
        if let Some(health) = &mut lost.health {
            health.status = HealthStatus::Unhealthy;
        }
        lost
    }
}

fn open(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Takes disk space for one more status: how a container ended must not be lost because it has filled the disk.
fn reserve(directory: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, RESERVE, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, RESERVED)?),
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_status_has_space_for_the_next_one() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let live = Status { state: State::Running, ..Status::default() };
        live.write(dir.path(), false).unwrap();
        let reserved = std::fs::metadata(dir.path().join(RESERVE)).unwrap();
        assert_eq!(reserved.blocks() * 512, RESERVED);
        let ended = Status { state: State::Exited, exit_code: 3, ..Status::default() };
        let handle = File::open(dir.path()).unwrap();
        ended.put(handle.as_fd(), RESERVE, true).unwrap();
        assert_eq!(Status::read(dir.path(), dir.path()).unwrap(), Some(ended));
    }

    #[test]
    fn a_status_is_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Status::read(dir.path(), dir.path()).unwrap(), None);
        let status = Status {
            state: State::Running,
            pid: 42,
            started_at: Some("2024-05-01T10:00:00.123456789Z".parse().unwrap()),
            health: Some(HealthRecord::default()),
            ..Status::default()
        };
        status.write(dir.path(), true).unwrap();
        assert_eq!(Status::read(dir.path(), dir.path()).unwrap(), Some(status));
    }

    #[test]
    fn the_end_of_who_is_removed_hides_its_run_until_the_next() {
        let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let live = Status { state: State::Running, pid: 42, ..Status::default() };
        let ended = Status { state: State::Exited, exit_code: 3, ..Status::default() };
        for status in [&live, &ended, &live] {
            status.write_fleeting(dir.path(), run.path()).unwrap();
            assert_eq!(Status::read(dir.path(), run.path()).unwrap().as_ref(), Some(status));
            assert_eq!(
                Status::read_in(dir.path()).unwrap().as_ref(),
                Some(&live),
                "what a power failure leaves"
            );
        }
    }

    #[test]
    fn a_lost_container_was_killed() {
        let status = Status { state: State::Running, pid: 42, ..Status::default() };
        let lost = status.lost();
        assert_eq!((lost.state, lost.pid, lost.exit_code), (State::Exited, 0, 137));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"{\"version\":1,\"sta").unwrap();
        assert!(matches!(Status::read(dir.path(), dir.path()), Err(StatusError::Parse { .. })));
    }
}
