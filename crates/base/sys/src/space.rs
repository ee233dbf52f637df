//! Room on a file system: who writes for a stranger stops before the disk is full for everybody else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::StatVfs;

/// What stays free of a large file system.
const RESERVE_MAX: u64 = 64 << 20;
/// Bytes between two looks at the file system.
const STEP: u64 = 4 << 20;
/// What a new name costs at least: an inode and its place in a directory.
const NAME: u64 = 512;

/// Watches the file system that a descriptor lies on.
#[derive(Debug)]
pub struct Room {
    fd: OwnedFd,
    unseen: u64,
}

impl Room {
    /// Starts; any descriptor will do, also an `O_PATH` one.
    pub fn on(fd: impl AsFd) -> io::Result<Room> {
        // The first look is at the first byte.
        Ok(Room { fd: fd.as_fd().try_clone_to_owned()?, unseen: STEP })
    }

    /// Says that so many bytes are about to be written. `StorageFull` when a twentieth of the file system, or 64 MiB of
    /// a large one, would not stay free, and when a hundredth of its inodes would not.
    pub fn take(&mut self, bytes: u64) -> io::Result<()> {
        self.unseen = self.unseen.saturating_add(bytes);
        if self.unseen < STEP {
            return Ok(());
        }
        self.unseen = 0;
        check(&rustix::fs::fstatvfs(&self.fd)?, bytes)
    }

    /// Says that a name is about to be made.
    pub fn take_name(&mut self) -> io::Result<()> {
        self.take(NAME)
    }
}

fn check(fs: &StatVfs, bytes: u64) -> io::Result<()> {
    let total = fs.f_blocks.saturating_mul(fs.f_frsize);
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    let reserve = (total / 20).min(RESERVE_MAX);
    let full = |text: String| Err(io::Error::new(io::ErrorKind::StorageFull, text));
    if free < reserve.saturating_add(bytes.min(STEP)) {
        return full(format!(
            "no space left: the last {} MiB of the file system are kept free",
            reserve >> 20
        ));
    }
    if fs.f_files > 0 && fs.f_favail < fs.f_files / 100 {
        return full("no inodes left: the last hundredth of the file system's is kept free".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fs(blocks: u64, free: u64, inodes: u64, free_inodes: u64) -> StatVfs {
        let mut fs = rustix::fs::statvfs("/").unwrap();
        (fs.f_frsize, fs.f_blocks, fs.f_bavail) = (1 << 20, blocks, free);
        (fs.f_files, fs.f_favail) = (inodes, free_inodes);
        fs
    }

    #[test]
    fn the_last_of_a_file_system_is_kept() {
        assert!(check(&fs(100_000, 69, 0, 0), 4 << 20).is_ok());
        assert!(check(&fs(100_000, 67, 0, 0), 4 << 20).is_err());
        assert!(check(&fs(100, 10, 0, 0), 1 << 20).is_ok());
        assert!(check(&fs(100, 5, 0, 0), 1 << 20).is_err());
        assert!(check(&fs(100, 50, 1000, 9), 1).is_err());
        assert!(check(&fs(100, 50, 1000, 11), 1).is_ok());
        assert!(check(&fs(0, 0, 0, 0), 0).is_ok(), "a file system that tells nothing");
    }
}
