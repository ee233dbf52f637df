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

/// The same if nobody has the lock now.
pub fn try_exclusive(path: &Path) -> Result<Option<Lock>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e).during(format_args!("lock {}", path.display())),
    }
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

/// Waits for the exclusive lock on `path`, a file that [`remove_if_free`] may remove.
pub fn removable(path: &Path) -> Result<Lock> {
    loop {
        let file = open(path)?;
        let lock = wait(file, path)?;
        if has_name(&lock._file, path)? {
            return Ok(lock);
        }
    }
}

/// Removes a file that nobody holds, after something that only who holds it may do otherwise; whether nobody did.
pub fn remove_if_free(path: &Path, first: impl FnOnce() -> Result<()>) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e).during(format_args!("open {}", path.display())),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        Err(e) => return Err(e).during(format_args!("lock {}", path.display())),
    }
    if !has_name(&file, path)? {
        return Ok(false);
    }
    first()?;
    std::fs::remove_file(path).during(format_args!("remove {}", path.display()))?;
    Ok(true)
}

/// Whether a file was not removed by its last holder.
fn has_name(file: &File, path: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.metadata().during(format_args!("look at {}", path.display()))?.nlink() > 0)
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

    #[test]
    fn what_nobody_holds_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = removable(&path).unwrap();
        assert!(!remove_if_free(&path, || panic!("it is held")).unwrap());
        drop(lock);
        let mut first = false;
        let removed = remove_if_free(&path, || {
            first = true;
            Ok(())
        });
        assert!(removed.unwrap() && first && !path.exists());
        assert!(!remove_if_free(&path, || Ok(())).unwrap());
    }
}
