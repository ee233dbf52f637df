//! User namespaces (man 7 user_namespaces).

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::os::fd::BorrowedFd;

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
