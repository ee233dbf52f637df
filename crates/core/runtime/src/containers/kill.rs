//! `kill`: signals.

use std::os::fd::AsFd;

use rustix::process::{Pid, PidfdFlags};

use super::{Container, Error};

/// Who gets the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Init,
    /// Everything in the container's control group.
    All,
}

/// Sends a signal. A container that has no pid namespace of its own doesn't end with its init: SIGKILL goes to all there.
pub fn kill(container: &Container, signal: i32, whom: Whom) -> Result<(), Error> {
    let kills = signal == libc::SIGKILL;
    if whom == Whom::All || (kills && !container.record.own_pids) {
        let Some(cgroup) = container.cgroup()? else {
            return Err(Error::NoCgroup { what: "a signal to all processes" });
        };
        let fail = |source| Error::Cgroup { path: cgroup.path().to_owned(), source };
        if kills {
            return cgroup.kill_all().map_err(fail);
        }
        return cgroup.pids().map_err(fail)?.into_iter().try_for_each(|pid| send(pid, signal));
    }
    let Some((_, pidfd)) = container.init()? else { return Err(Error::NotRunning) };
    match sys::signal::send(pidfd.as_fd(), signal) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Err(Error::NotRunning),
        other => other.map_err(|source| Error::Signal { source })?,
    }
    if kills && container.is_frozen()? {
        // What is frozen by version 1 doesn't die before it is thawed.
        thaw(container)?;
    }
    Ok(())
}

fn thaw(container: &Container) -> Result<(), Error> {
    let Some(cgroup) = container.cgroup()? else { return Ok(()) };
    cgroup.thaw().map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })
}

/// To a process that was in the group a moment ago; one that has ended since got what it needed.
fn send(pid: i32, signal: i32) -> Result<(), Error> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    match sys::signal::send(pidfd.as_fd(), signal) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map_err(|source| Error::Signal { source }),
    }
}
