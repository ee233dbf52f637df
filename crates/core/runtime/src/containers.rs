//! Containers that outlive the process that has created them: the runtime specification's operations, with no process
//! of ours beside a container.
//!
//! ```text
//! <state root>/<id>/       0700; the folder is the container's existence
//!     lock                 held (flock) by create, start and delete while they work
//!     state.json           the record: who the init is, where things are; written anew under another name and renamed
//!     config.json          the specification as it was at create
//!     go, said             fifos, as long as the container waits for its start: see below
//!     notify/notify.sock   where its program says that it is ready, if a service manager wants to know
//! ```
//!
//! A container is `creating` → `created` → `running` ⇄ `paused` → `stopped`, and none of that is written down: it is what
//! the kernel says of the recorded process (its pid *and* start time, so that a recycled pid is nobody), of the readers of
//! `go`, and of the freezer.
//!
//! Between create and start the init stands in a read of `go`, a fifo whose only reader it is and whose descriptor it
//! got before the clone: nothing of it is to be found in its file system. [`start()`] writes one byte and reads `said`:
//! its end of file is the `execve` that closed the other end, anything else is the failure of what came before. So the
//! init makes no system calls while it waits but `read`, and later `write`, which every seccomp profile has to allow.
//!
//! Nothing is synced to disk: the folder describes processes, which don't survive what memory doesn't survive.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::Serialize;

mod bundle;
mod create;
mod delete;
mod error;
mod exec;
mod folder;
mod freezer;
mod id;
mod identity;
mod kill;
mod list;
mod notify;
mod processes;
mod record;
mod rootfs;
mod scope;
mod start;
mod state;
mod update;

pub use create::{Create, Waiting, create};
pub use delete::{Deleted, delete};
pub use error::Error;
pub use exec::{Exec, exec};
pub use freezer::{pause, resume};
pub use id::check as check_id;
pub use kill::{Whom, kill};
pub use list::{Listed, Unreadable, list};
pub use notify::Notify;
pub use processes::ps;
pub use start::start;
pub use update::{Update, update};

use folder::Folder;
use record::Record;

/// The word for where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// What is known of a container, in the order in which runc prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: String,
    /// Zero when it is stopped.
    pub pid: i32,
    pub status: Status,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
    pub owner: String,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// We do, as directories.
    #[default]
    Filesystem,
    /// systemd does, as scopes.
    Systemd,
}

/// A container that exists. Opening one touches nothing.
#[derive(Debug)]
pub struct Container {
    folder: Folder,
    record: Record,
}

impl Container {
    /// The container `id` below the state root.
    pub fn open(root: &Path, id: &str) -> Result<Container, Error> {
        id::check(id)?;
        let folder = Folder::open(root, id)?;
        let record = folder.read_record()?;
        Ok(Container { folder, record })
    }

    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The init as long as it lives: pid and a descriptor that can't mean another process.
    pub fn init(&self) -> Result<Option<(i32, OwnedFd)>, Error> {
        self.record.init.as_ref().map_or(Ok(None), identity::Identity::open)
    }

    /// Its control group, if it has one.
    pub fn cgroup(&self) -> Result<Option<crate::cgroup::Cgroup>, Error> {
        let path = self.record.cgroup.as_str();
        if path.is_empty() {
            return Ok(None);
        }
        let cgroup = crate::cgroup::Cgroup::new(path);
        let cgroup = cgroup.map_err(|source| Error::Cgroup { path: path.to_owned(), source })?;
        let cgroup = cgroup.with_elsewhere(self.record.elsewhere.clone());
        Ok(Some(cgroup).filter(crate::cgroup::Cgroup::is_mounted))
    }

    /// The specification that it was created from.
    pub fn spec(&self) -> Result<oci::runtime::Spec, Error> {
        self.folder.read_spec()
    }
}
