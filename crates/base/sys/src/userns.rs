//! User namespaces (man 7 user_namespaces).

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;

/// Takes this process into a user namespace, and there into a mount namespace of its own, in which it may mount. The
/// process must have one thread, and there is no way back.
pub fn enter(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::User))?;
    unshare()
}

#[allow(unsafe_code)]
fn unshare() -> Result<(), Errno> {
    // SAFETY: only CLONE_FILES has the I/O-safety hazard that makes this function unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
}

/// A copy of this process, and our end of the stream to it. Dropping it ends the stream, and waits for the end of the copy.
#[derive(Debug)]
pub struct Behind {
    /// `None` while it is dropped.
    stream: Option<UnixStream>,
    pid: libc::pid_t,
}

impl Behind {
    pub fn stream(&self) -> io::Result<&UnixStream> {
        self.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        drop(self.stream.take());
        // SAFETY: a number, and no place for a status. It fails when somebody else has reaped it, or by a signal: try again.
        while unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// Makes a copy of this process, which must have one thread, that stays behind in the namespaces that this one is about to
/// leave. The copy does `work` with one end of a stream, has no other descriptors from 3 on, and ends with it.
pub fn leave_behind(work: impl FnOnce(UnixStream)) -> io::Result<Behind> {
    let (ours, theirs) = UnixStream::pair()?;
    // SAFETY: it takes a number. CLONE_THREAD changes nothing, but is refused to a process that has several threads.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: there is one thread, as was just seen, so that no lock is held by anybody who is not copied.
    match unsafe { libc::fork() } {
        0 => {
            let fd = theirs.as_raw_fd() as libc::c_uint;
            // SAFETY: these take numbers. Whatever the copy had owned under the descriptors that are closed is never used
            // or dropped: it runs `work`, which owns `theirs` alone, and ends without returning.
            unsafe {
                if fd > 3 {
                    libc::syscall(libc::SYS_close_range, 3u32, fd - 1, 0u32);
                }
                libc::syscall(libc::SYS_close_range, fd + 1, u32::MAX, 0u32);
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| work(theirs)));
                libc::_exit(0)
            }
        }
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Behind { stream: Some(ours), pid }),
    }
}
