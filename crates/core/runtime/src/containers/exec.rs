//! `exec`: one more process in a container.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci::runtime::{Process, Spec};

use super::{Container, Error, Status};
use crate::cgroup::Cgroup;
use crate::{Running, Stdio};

/// What is asked for.
#[derive(Debug)]
pub struct Exec<'a> {
    /// Of the container, see [`Container::spec`].
    pub spec: &'a Spec,
    pub process: &'a Process,
    pub ignore_paused: bool,
    /// Groups below the container's own, which exist, as [`Cgroup::inner`] has them.
    pub cgroups: &'a BTreeMap<String, String>,
    /// As in [`super::Create`].
    pub console_socket: Option<&'a Path>,
    pub preserve_fds: u32,
}

/// Runs a process in a container, whose init may still wait for its start. It is a child of this process and outlives it.
pub fn exec(container: &Container, request: &Exec<'_>) -> Result<Running, Error> {
    match container.status()? {
        Status::Stopped | Status::Creating => return Err(Error::ExecStopped),
        Status::Paused if !request.ignore_paused => return Err(Error::ExecPaused),
        _ => {}
    }
    let Some((pid, pidfd)) = container.init()? else { return Err(Error::ExecStopped) };
    crate::userns::enter_that_of(pid).map_err(Error::Start)?;
    super::bundle::check_process(request.process)
        .map_err(|(_, reason)| Error::Start(crate::Error::Spec { reason }))?;
    let cgroup = group(container, request.cgroups)?;
    let record = &container.record;
    let state = oci::runtime::State {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        status: "running".to_owned(),
        pid: Some(pid),
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    };
    let mut running = crate::exec(crate::Exec {
        pid,
        pidfd: pidfd.as_fd(),
        process: request.process,
        namespaces: None,
        cgroup: cgroup.as_ref(),
        cgroup_only: !request.cgroups.is_empty(),
        seccomp: request.spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()),
        filter: None,
        stdio: if request.process.terminal { Stdio::Terminal } else { Stdio::Inherit },
        preserve_fds: request.preserve_fds,
        die_with_parent: false,
        container: Some(&state),
    })
    .map_err(Error::Start)?;
    if let Some(path) = request.console_socket
        && let Some(master) = running.master.take()
    {
        send_away(path, &master, &running.pidfd)?;
    }
    Ok(running)
}

/// A process whose terminal nobody has is no use.
fn send_away(path: &Path, master: &OwnedFd, pidfd: &OwnedFd) -> Result<(), Error> {
    super::create::send_master(path, master).inspect_err(|_| sys::child::kill_and_reap(pidfd.as_fd()))
}

fn group(container: &Container, below: &BTreeMap<String, String>) -> Result<Option<Cgroup>, Error> {
    let own = container.cgroup()?;
    if below.is_empty() {
        return Ok(own);
    }
    let own = own.ok_or(Error::NoCgroup { what: "--cgroup" })?;
    let inner = own.inner(below);
    inner.map(Some).map_err(|source| Error::Cgroup { path: own.path().to_owned(), source })
}
