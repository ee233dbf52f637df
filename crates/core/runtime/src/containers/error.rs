//! Why an operation on a container failed. Texts are runc's, as engines match on them.

use std::io;
use std::path::PathBuf;

use super::Status;
use crate::cgroup;

/// A failure of an operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("container id cannot be empty")]
    EmptyId,
    #[error("invalid container ID format")]
    Id,
    #[error("container does not exist")]
    NotFound,
    #[error("container with given ID already exists")]
    Exists,
    #[error("JSON specification file {} not found", .path.display())]
    NoConfig { path: PathBuf },
    #[error("read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// `field` is the way to what is wrong, empty when the text isn't JSON at all.
    #[error("{}: {}{reason}", .path.display(), if .field.is_empty() { String::new() } else { format!("{field}: ") })]
    Config { path: PathBuf, field: String, reason: String },
    #[error("invalid rootfs: stat {}: {reason}", .path.display())]
    Rootfs { path: PathBuf, reason: String },
    #[error("{what} of {}", .folder.display())]
    Folder { what: &'static str, folder: PathBuf, source: io::Error },
    #[error("{what} of {}: {reason}", .folder.display())]
    Record { what: &'static str, folder: PathBuf, reason: String },
    #[error("{reason}")]
    Terminal { reason: &'static str },
    #[error("unable to start container process")]
    Start(#[source] crate::Error),
    #[error("unable to start container process: the container has ended before its program began")]
    Ended,
    #[error("cannot start a container that has stopped")]
    StartStopped,
    #[error("cannot start an already running container")]
    StartRunning,
    #[error("cannot start a container in the {status} state")]
    StartOther { status: Status },
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped { id: String, status: Status },
    #[error("container init still running")]
    Unkillable,
    #[error("container not running")]
    NotRunning,
    #[error("container not paused")]
    NotPaused,
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    #[error("cannot exec in a stopped container")]
    ExecStopped,
    #[error("container has no control group: {what} needs one")]
    NoCgroup { what: &'static str },
    #[error("systemd cgroup driver")]
    Systemd(#[source] cgroup::systemd::Error),
    #[error("control group {path}")]
    Cgroup { path: String, source: cgroup::Error },
    #[error("look at process {pid}")]
    Process { pid: i32, source: io::Error },
    #[error("send the terminal to {}", .path.display())]
    ConsoleSocket { path: PathBuf, source: io::Error },
    #[error("listen to what the container tells the service manager")]
    Notify { source: io::Error },
    #[error("{reason}")]
    Resctrl { reason: &'static str },
    #[error("update the resctrl schemata")]
    Schemata(#[source] crate::Error),
    #[error("signal container init")]
    Signal { source: io::Error },
}
