//! OCI runtime: from a specification to a process.
//!
//! [`create`] makes namespaces, control group, mounts and credentials and stops just before `execve`; [`Created::start`]
//! lets it go; [`exec`] runs one more process in a running container. The caller is the parent of every
//! process started here and reaps it by `waitid` on the pidfd.
//!
//! One `clone3` per process. The parent resolves everything first into a flat plan of C strings and open
//! descriptors; the child walks through it without allocating, and reports the first failure as (step, errno)
//! over one socket. A detached mount is the root file system, and the child pivots into it: nothing is ever
//! mounted where the machine could see it.
//!
//! This crate knows bundles: no images, no networks, no names. Sizes are bytes. Nothing here waits without a
//! bound but for hooks that have no timeout.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod bits;
pub mod capabilities;
pub mod cdi;
pub mod cgroup;
pub mod containers;
mod create;
pub mod defaults;
mod devices;
mod error;
mod exec;
mod features;
mod home;
mod hooks;
mod launch;
mod memory_policy;
mod mounts;
mod namespaces;
mod net_devices;
mod options;
mod plan;
mod proc;
mod process;
pub mod resctrl;
pub mod seccomp;
pub mod starter;
mod sysctl;
mod userns;
mod validate;

pub use create::create;
pub use error::Error;
pub use exec::exec;
pub use features::features;
pub use hooks::{dismiss, poststop};
pub use mounts::{MOUNTS_OF, SUBPATH};
pub use namespaces::Joined;
pub use plan::said;

/// What [`create`] needs. The specification is validated, not trusted.
#[derive(Debug)]
pub struct Create<'a> {
    /// Names the container towards hooks.
    pub id: &'a str,
    pub spec: &'a oci::runtime::Spec,
    /// Takes the place of the specification's `root.path`.
    pub rootfs: Rootfs,
    /// The detached mount of `rootfs`, if it has been made already.
    pub mounted: Option<OwnedFd>,
    /// The directory that relative bind sources start at, and that hooks are told.
    pub bundle: Option<&'a Path>,
    pub stdio: Stdio,
    /// Joined instead of what the specification says about the network namespace.
    pub netns: Option<BorrowedFd<'a>>,
    /// Descriptors 3 to 2 + n of this process stay open in the container's process.
    pub preserve_fds: u32,
    /// Kill the container (SIGKILL to its init) when the *thread* that called [`create`] ends.
    pub die_with_parent: bool,
    /// Enter the root file system without pivot_root(2), which an initial ramfs does not allow.
    pub no_pivot: bool,
    /// Keep the session keyring of the caller.
    pub inherit_keyring: bool,
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A directory, bind-mounted.
    Path(PathBuf),
    /// Layers, mounted detached.
    Overlay(sys::mount::Overlay),
}

/// Where the standard streams of a process go.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null`.
    Null,
    /// Those of this process.
    Inherit,
    Fds {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A new pseudo terminal of the container's own devpts; its master comes back in [`Created::master`].
    Terminal,
}

/// A container whose init stands just before `execve`. Dropping it kills the init and reaps it.
#[derive(Debug)]
pub struct Created {
    /// As this process' pid namespace numbers it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub master: Option<OwnedFd>,
    /// Where the specification has a `cgroupsPath`. It stays after the process has ended:
    /// [`cgroup::Cgroup::delete`] is the caller's.
    pub cgroup: Option<cgroup::Cgroup>,
    /// What could not be granted and did not stop us, one sentence each.
    pub warnings: Vec<String>,
    waiting: launch::Waiting,
    poststart: Vec<oci::runtime::Hook>,
    subject: hooks::Subject,
}

impl Created {
    /// Runs the program. `Err(Error::Exec{..})` when the program can't be executed: see [`Error::exit_code`].
    /// After an error the process is gone and reaped.
    pub fn start(self) -> Result<Running, Error> {
        let Created { pid, pidfd, master, mut warnings, waiting, poststart, subject, .. } = self;
        let (_, more) = waiting.start()?;
        warnings.extend(more);
        if let Err(error) = subject.run("poststart", &poststart, "running", Some(pid)) {
            sys::child::kill_and_reap(pidfd.as_fd());
            return Err(error);
        }
        Ok(Running { pid, pidfd, master, warnings })
    }
}

impl Created {
    /// What the steps behind the gate are about, with the number of the first one.
    pub(crate) fn behind_gate(&self) -> (usize, &[plan::Label]) {
        self.waiting.behind_gate()
    }

    /// Leaves the container at its gate, where it outlives this process.
    pub(crate) fn leave(self) -> Result<OwnedFd, Error> {
        self.waiting.leave()
    }
}

/// A process that has begun.
#[derive(Debug)]
pub struct Running {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub master: Option<OwnedFd>,
    pub warnings: Vec<String>,
}

/// What [`exec`] needs.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The container's init: all its namespaces are joined.
    pub pid: i32,
    pub pidfd: BorrowedFd<'a>,
    pub process: &'a oci::runtime::Process,
    /// What of them is not ours, where that was looked at before.
    pub namespaces: Option<&'a Joined>,
    /// Joined, if the container has one.
    pub cgroup: Option<&'a cgroup::Cgroup>,
    /// Not the init's group instead, where this one takes no processes because those below it have controllers.
    pub cgroup_only: bool,
    pub seccomp: Option<&'a oci::runtime::Seccomp>,
    /// What `seccomp` compiles to, where that is known.
    pub filter: Option<&'a seccomp::Program>,
    pub stdio: Stdio,
    pub preserve_fds: u32,
    /// As [`Create::die_with_parent`].
    pub die_with_parent: bool,
    /// What the agent of a filter that notifies is told of the container. Without, such a filter is refused.
    pub container: Option<&'a oci::runtime::State>,
}
