//! Locks on parts of files that belong to a descriptor, and so go with it to other processes.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Locks `length` bytes from `start` on for reading, for as long as this descriptor or a copy of it is open anywhere. Whoever
/// asks for them with fcntl(2) sees them locked.
pub fn share(fd: impl AsFd, start: i64, length: i64) -> io::Result<()> {
    // SAFETY: flock is integers alone, for which zero is a value; what is not set below says zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_whence) = (libc::F_RDLCK as libc::c_short, libc::SEEK_SET as libc::c_short);
    (lock.l_start, lock.l_len) = (start, length);
    // SAFETY: fcntl reads the record, which is valid for the call.
    match unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
