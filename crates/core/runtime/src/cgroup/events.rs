//! Waiting on what the kernel tells about a group.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::{Cgroup, Error, call, read_key};

/// Tells when a task of the group is killed for want of memory. Poll it for reading, then call
/// [`OomEvents::drain`].
///
/// On version 1 the kernel tells before it kills, so at the notice the count may still be the old one: ask
/// [`Cgroup::oom_kills`] when the container has ended.
#[derive(Debug)]
pub struct OomEvents {
    fd: OwnedFd,
    /// Version 1 needs it open.
    control: Option<File>,
    group: Cgroup,
    seen: u64,
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OomEvents {
    pub(super) fn new(group: &Cgroup) -> Result<OomEvents, Error> {
        let seen = group.oom_kills();
        let (fd, control) = match group.v1_dir("memory") {
            Some(dir) => v1(&dir)?,
            None => (v2(group)?, None),
        };
        Ok(OomEvents { fd, control, group: group.clone(), seen })
    }

    /// Takes what has arrived: the number of kills since the last call. Never blocks.
    pub fn drain(&mut self) -> io::Result<u64> {
        self.take()?;
        Ok(self.count())
    }

    /// Takes what has arrived: whether memory was wanting since the last call. On version 1 the notice itself says so, be
    /// anybody killed or not; and it comes once more when the group is removed, which is none. Never blocks.
    pub fn happened(&mut self) -> io::Result<bool> {
        let noticed = self.take()?;
        let killed = self.count() > 0;
        Ok(killed || (noticed && self.control.is_some() && self.group.exists()))
    }

    fn take(&self) -> io::Result<bool> {
        let mut buffer = [0u8; 4096];
        let mut some = false;
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Err(Errno::AGAIN) | Ok(0) => return Ok(some),
                Err(Errno::INTR) => {}
                Ok(_) => some = true,
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn count(&mut self) -> u64 {
        let now = self.group.oom_kills();
        let new = now.saturating_sub(self.seen);
        self.seen = self.seen.max(now);
        new
    }
}

fn v1(dir: &Path) -> Result<(OwnedFd, Option<File>), Error> {
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|e| call("make an eventfd")(e.into()))?;
    let control = File::open(dir.join("memory.oom_control")).map_err(call("open memory.oom_control"))?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    super::write(&dir.join("cgroup.event_control"), &line)?;
    Ok((event, Some(control)))
}

fn v2(group: &Cgroup) -> Result<OwnedFd, Error> {
    let attempt = "watch memory.events";
    let Some(dir) = group.v2_dir() else {
        return Err(call(attempt)(io::ErrorKind::Unsupported.into()));
    };
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(|e| call(attempt)(e.into()))?;
    inotify::add_watch(&watch, dir.join("memory.events"), inotify::WatchFlags::MODIFY)
        .map_err(|e| call(attempt)(e.into()))?;
    Ok(watch)
}

/// Waits until a key of a version 2 `cgroup.events` has a value; whether it did before the deadline. A file
/// that is gone is a group without processes.
pub(super) fn wait_for(dir: &Path, key: &str, value: u64, deadline: Instant) -> io::Result<bool> {
    let mut file = match File::open(dir.join("cgroup.events")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    loop {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        match file.read_to_string(&mut text) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Ok(true),
            other => drop(other?),
        }
        if read_key(&text, key) == Some(value) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // Kernfs tells of a change by POLLPRI to those who have read the file.
        let mut polled = [PollFd::new(&file, PollFlags::PRI)];
        match rustix::event::poll(&mut polled, Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
