//! Namespaces as descriptors (man 7 namespaces, man 2 ioctl_nsfs).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

/// The kind of the namespace that a descriptor means, as `CLONE_NEW*`; `None` when it means none.
pub fn kind(fd: impl AsFd) -> io::Result<Option<u32>> {
    // SAFETY: the request takes no argument and gives a number.
    match unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE as _) } {
        -1 => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => Ok(None),
            error => Err(error),
        },
        kind => Ok(Some(kind as u32)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_descriptor_tells_its_kind() {
        let kind = |path| kind(File::open(path).unwrap()).unwrap();
        assert_eq!(kind("/proc/self/ns/uts"), Some(libc::CLONE_NEWUTS as u32));
        assert_eq!(kind("/proc/self/ns/pid_for_children"), Some(libc::CLONE_NEWPID as u32));
        assert_eq!((kind("/dev/null"), kind("/proc/self/status"), kind("/")), (None, None, None));
    }
}
