//! Becoming a small process of one's own: no inherited descriptors, no parent, no session, little memory.

use std::io;

/// Closes every descriptor from 3 on. What a shell or another program left open would otherwise stay open for this
/// process's life, and with it pipes that somebody waits on.
///
/// To be called first thing in `main`: descriptors that the program itself has opened are closed as well, and their
/// owners would not know.
pub fn close_inherited() {
    // SAFETY: close_range(2) takes three integers. By the contract above nobody owns these descriptors yet.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
}

/// Continues in a child with its own session, and ends the calling process with code 0 at once. The child's parent is
/// whoever adopts orphans, so nobody is left with the duty to reap it. To be called while there is one thread only.
pub fn detach() -> io::Result<()> {
    // SAFETY: with one thread, fork(2) duplicates a consistent process: no lock is held by a thread that is missing
    // in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            rustix::process::setsid()?;
            Ok(())
        }
        // SAFETY: _exit(2) runs no handler and flushes no buffer; all of that belongs to the child now.
        _ => unsafe { libc::_exit(0) },
    }
}

/// Gives freed memory back to the kernel. For long-lived idle processes, after a burst of work.
pub fn trim_memory() {
    // SAFETY: malloc_trim takes no pointer and touches free memory only.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
