//! What the kernel tells of a socket's queues (man 7 unix, man 7 tcp).

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::io::Errno;

/// How much of what was written to this stream the other side has not taken yet: bytes and the kernel's own overhead
/// on a unix socket, bytes without an acknowledgement on TCP. Only zero has a meaning for both: nothing is left.
pub fn untaken(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut amount: libc::c_int = 0;
    // SAFETY: the ioctl writes one int.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) } < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(usize::try_from(amount).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_read_is_taken() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(untaken(ours.as_fd()), Ok(0));
        ours.write_all(b"head").unwrap();
        assert!(untaken(ours.as_fd()).unwrap() > 0);
        theirs.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(untaken(ours.as_fd()), Ok(0));
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(untaken(file.as_fd()).is_err());
    }
}
