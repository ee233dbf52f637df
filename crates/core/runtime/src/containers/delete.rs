//! `delete`: nothing is left.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::folder::Folder;
use super::{Container, Error, Status, id};

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What went on.
#[derive(Debug, Default)]
pub struct Deleted {
    /// What the `poststop` hooks had to complain about.
    pub warnings: Vec<String>,
}

/// Removes a container that waits for its start or has stopped; with `force` any, and then one that doesn't exist is
/// removed already. It can be repeated after whatever interruption, also of `create`.
pub fn delete(root: &Path, id: &str, force: bool) -> Result<Deleted, Error> {
    id::check(id)?;
    match remove(root, id, force) {
        Err(Error::NotFound) if force => Ok(Deleted::default()),
        other => other,
    }
}

fn remove(root: &Path, id: &str, force: bool) -> Result<Deleted, Error> {
    let folder = Folder::open(root, id)?;
    let _lock = if force {
        // Whoever starts it may wait for a hook, for ever: the end of the container ends that too.
        if let Ok(record) = folder.read_record()
            && let Some((_, pidfd)) = record.init.as_ref().map(|init| init.open()).transpose()?.flatten()
        {
            let _ = sys::signal::send(pidfd.as_fd(), libc::SIGKILL);
        }
        folder.lock()?
    } else {
        folder.lock()?
    };
    let record = match folder.read_record() {
        // Its creator has died before it had written anything.
        Err(Error::NotFound) => {
            folder.remove()?;
            return Err(Error::NotFound);
        }
        other => other?,
    };
    let container = Container { folder, record };
    match container.status()? {
        Status::Stopped => {}
        // We hold the lock, so nobody creates it.
        Status::Created | Status::Creating => end(&container)?,
        _ if force => end(&container)?,
        status => return Err(Error::NotStopped { id: id.to_owned(), status }),
    }
    clear(&container)
}

/// Kills the init and waits for its end.
fn end(container: &Container) -> Result<(), Error> {
    let Some((_, pidfd)) = container.init()? else { return Ok(()) };
    match super::kill(container, libc::SIGKILL, super::Whom::Init) {
        Ok(()) | Err(Error::NotRunning) => {}
        Err(Error::NoCgroup { .. }) => {
            let _ = sys::signal::send(pidfd.as_fd(), libc::SIGKILL);
        }
        Err(e) => return Err(e),
    }
    if ended(pidfd.as_fd(), PATIENCE) { Ok(()) } else { Err(Error::Unkillable) }
}

/// Whether a process ends in time. Not reaped by its parent yet is ended.
fn ended(pidfd: BorrowedFd<'_>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&left)) {
            Err(Errno::INTR) => continue,
            other => return other.is_ok_and(|n| n > 0),
        }
    }
}

/// Control group, mounts, folder, hooks, in this order: up to the last the container can be deleted again.
fn clear(container: &Container) -> Result<Deleted, Error> {
    if let Some(cgroup) = container.cgroup()? {
        let fail = |source| Error::Cgroup { path: cgroup.path().to_owned(), source };
        if !container.record.own_pids || container.record.init.is_none() {
            cgroup.kill_all().map_err(fail)?;
        }
        if let Some(unit) = &container.record.scope {
            super::scope::stop(unit)?;
        }
        cgroup.delete(PATIENCE).map_err(fail)?;
    }
    if let Ok(spec) = container.spec() {
        crate::resctrl::leave(container.id(), &spec).map_err(Error::Start)?;
    }
    super::rootfs::unmount(&container.record)?;
    container.folder.remove()?;
    let (record, subject) = (&container.record, container.record.subject());
    let one = |hook| subject.run("poststop", std::slice::from_ref(hook), "stopped", None).err();
    let warnings = record.poststop.iter().filter_map(one).map(|error| error.to_string()).collect();
    Ok(Deleted { warnings })
}
