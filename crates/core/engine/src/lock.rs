//! Locks between engines: `flock` on a file, so that a lock dies with its holder.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Context, Result};

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Waits for the exclusive lock on `path`. Blocks the thread. The file stays: removing it would race with waiters.
pub fn exclusive(path: &Path) -> Result<Lock> {
    wait(open(path)?, path)
}

fn wait(file: File, path: &Path) -> Result<Lock> {
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).during(format_args!("lock {}", path.display())),
        }
    }
}

/// Waits for the exclusive lock on a directory, which goes with it. Blocks the thread.
pub fn directory(path: &Path) -> Result<Lock> {
    wait(File::open(path).during(format_args!("open {}", path.display()))?, path)
}

/// Whether someone holds a lock on `path`; a missing file is held by nobody.
pub fn is_held(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e).during(format_args!("open {}", path.display())),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(e).during(format_args!("look at the lock {}", path.display())),
    }
}

fn open(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .during(format_args!("open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_and_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!is_held(&path).unwrap());
        let lock = exclusive(&path).unwrap();
        assert!(is_held(&path).unwrap());
        drop(lock);
        assert!(!is_held(&path).unwrap());
    }
}
