//! Why a container did not come up. Texts follow runc's where Docker's clients match on them.

use std::io;
use std::path::PathBuf;

use crate::cgroup;

/// A failure of [`crate::create`], [`crate::Created::start`] or [`crate::exec`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program can't be executed. Exit code 127 when it is not there, else 126.
    #[error("exec: {program:?}: {reason}")]
    Exec { program: String, reason: String, errno: i32 },
    /// The specification contradicts itself or asks for what no container can have.
    #[error("invalid specification: {reason}")]
    Spec { reason: String },
    /// Something that this machine or this runtime does not offer.
    #[error("{what} is not supported")]
    Unsupported { what: String },
    /// A label of a security module that is not there.
    #[error("unable to apply {what}: {reason}")]
    Label { what: String, reason: String },
    /// A mount of the specification.
    #[error("error mounting {source_path:?} to rootfs at {destination:?}: {reason}")]
    Mount { source_path: PathBuf, destination: PathBuf, reason: String, errno: i32 },
    /// A step of the set-up, in the new process.
    #[error("{step}: {reason}")]
    Step { step: String, reason: String, errno: i32 },
    /// A call of this process.
    #[error("{attempt}")]
    Call { attempt: String, source: io::Error },
    /// A network device of the machine that could not be moved.
    #[error("move network device {device:?} into the container")]
    NetDevice { device: String, source: sys::netlink::Error },
    #[error("mount the root file system")]
    Rootfs { source: sys::mount::Error },
    #[error("control group {path}")]
    Cgroup { path: String, source: cgroup::Error },
    #[error("seccomp profile: {reason}")]
    Seccomp { reason: String },
    #[error("{kind} hook {path}: {reason}")]
    Hook { kind: &'static str, path: PathBuf, reason: String },
    /// The new process was killed for want of memory.
    #[error(
        "unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak}): container init was OOM-killed (memory limit too low?)"
    )]
    Memory { limit: i64, usage: u64, peak: u64 },
    /// The new process was killed while it was set up, as by a memory limit too small to start in.
    #[error("the container's init process ended during set-up: {how}")]
    Died { how: String },
}

impl Error {
    /// What a client of `docker run` gives as its exit code: 127 for what is not there, 126 for what may not
    /// be executed or entered, 125 for the rest. Docker's client decides by the words of the message; this is
    /// the same by errno.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Exec { errno: libc::ENOENT, .. } => 127,
            Error::Exec { .. } => 126,
            Error::Step { errno, .. } | Error::Mount { errno, .. } => match *errno {
                libc::ENOENT => 127,
                libc::EACCES | libc::EISDIR => 126,
                _ => 125,
            },
            _ => 125,
        }
    }
}
