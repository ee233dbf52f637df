//! Waiting for a directory's files to change, without polling them.
//!
//! Logs, events and status are files that other processes append to or replace. A follower reads to the end, then
//! awaits [`Watch::changed`]. The watch must be made *before* reading, else a write between the two is missed.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::inotify;
use tokio::net::unix::pipe::Receiver;

use crate::error::{Context, Result};

/// An inotify watch on one or more directories.
pub struct Watch {
    // To the runtime an inotify instance is what a pipe is: something that becomes readable.
    queue: Receiver,
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
        let queue = Receiver::from_owned_fd_unchecked(fd).during("watch an inotify instance")?;
        Ok(Watch { queue })
    }

    /// Returns when something has changed since the watch was made or since the last return.
    ///
    /// Cancel safe. Spurious returns are possible: the caller looks again.
    pub async fn changed(&self) -> Result<()> {
        let mut events = [0; 4096];
        loop {
            self.queue.readable().await.during("wait for a file change")?;
            let mut any = false;
            loop {
                match self.queue.try_read(&mut events) {
                    Ok(_) => any = true,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e).during("read file changes"),
                }
            }
            if any {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::new(&[dir.path()]).unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        watch.changed().await.unwrap();
        let mut second = std::pin::pin!(watch.changed());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        std::fs::write(dir.path().join("a"), "y").unwrap();
        second.await.unwrap();
    }
}
