//! Waiting for a directory's files to change, without polling them.
//!
//! Logs, events and status are files that other processes append to or replace. A follower reads to the end, then
//! awaits [`Watch::changed`]. The watch must be made *before* reading, else a write between the two is missed.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use crate::error::{Context, Result};

/// An inotify watch on one or more directories.
pub struct Watch {
    fd: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Watches the entries of `dirs` for writes, creations and renames. Needs a tokio runtime.
    pub fn new(dirs: &[&Path]) -> Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .during("create an inotify instance")?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::ONLYDIR;
        for dir in dirs {
            inotify::add_watch(&fd, *dir, flags).during(format_args!("watch {}", dir.display()))?;
        }
        Ok(Watch { fd: AsyncFd::new(fd).during("watch an inotify instance")? })
    }

    /// Returns when something has changed since the watch was made or since the last return.
    ///
    /// Cancel safe. Spurious returns are possible: the caller looks again.
    pub async fn changed(&self) -> Result<()> {
        loop {
            let mut ready = self.fd.readable().await.during("wait for a file change")?;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut any = false;
            let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(_) => any = true,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(e) => return Err(e).during("read file changes"),
                }
            }
            ready.clear_ready();
            if any {
                return Ok(());
            }
        }
    }
}
