//! This program's own file, out of the reach of what it starts (CVE-2019-5736).
//!
//! Up to `execve` a process that is to become a container's has the machine's program behind its `/proc/<pid>/exe`. Who can
//! open that link, as a process of the same pid namespace with the same rights can, keeps a handle on the file and may
//! write to it as soon as nobody runs it. A process that was itself executed through a detached read-only mount hands out
//! nothing but that mount: it is read-only for ever, since nobody can name it to change it, and it costs no memory.

use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::mount::{Propagation, SetAttr, open_tree_clone, set_attr};

/// The link to the program of the process that asks.
const SELF: &CStr = c"/proc/self/exe";

/// A program's file through a detached read-only mount, to be executed by [`path_of`]. To the process its own path is `/`
/// then: what it needs to know of its place it must be told.
///
/// `None` where that can't be done: without the right to mount, there is no other user's file to protect; a mount that
/// was made unbindable has no clones; older kernels and filters of system calls do not know these calls.
pub fn readonly(program: &Path) -> io::Result<Option<OwnedFd>> {
    let tree = match open_tree_clone(CWD, program, false) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL | libc::ENOSYS)) => {
            return Ok(None);
        }
        other => other?,
    };
    let change = SetAttr {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY,
        propagation: Some(Propagation::Private),
        ..SetAttr::default()
    };
    match set_attr(&tree, &change) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => Ok(None),
        outcome => outcome.map(|()| Some(tree)),
    }
}

/// The name of an open file for `execve`, also in a child that still has the descriptor.
pub fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Continues as the same program on a read-only mount; returns where that is so already, or where there can be none.
/// `arguments` are all of the process, and `variables` are added to its environment. To be
/// called first thing in `main`, as nothing but descriptors without close-on-exec survives.
pub fn leave_writable(
    arguments: impl IntoIterator<Item = OsString>,
    variables: &[(&str, PathBuf)],
) -> io::Result<()> {
    if on_readonly_mount(SELF)? {
        return Ok(());
    }
    let Some(program) = readonly(Path::new("/proc/self/exe"))? else { return Ok(()) };
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new(path_of(&program));
    command.arg0(name).args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    Err(command.exec())
}

/// Whether what a path leads to is reached by a mount that nobody can write through.
pub(crate) fn on_readonly_mount(path: &CStr) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// A file, and the mount that it is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    device: (u32, u32),
    inode: u64,
    /// Zero before Linux 5.8, which doesn't tell.
    mount: u64,
}

impl Place {
    /// Where this program runs from.
    pub fn own() -> io::Result<Place> {
        Ok(Place::of(SELF)?)
    }

    /// Where a path leads to.
    pub(crate) fn of(path: &CStr) -> Result<Place, Errno> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), wanted)?;
        let mount = if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 { 0 } else { stat.stx_mnt_id };
        Ok(Place { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino, mount })
    }

    /// Whether both are the same file.
    pub(crate) fn is_file_of(self, other: Place) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_program_runs_from_a_mount_that_nobody_can_write_to() {
        let exe = readonly(Path::new("/proc/self/exe")).unwrap().unwrap();
        let path = path_of(&exe);
        // Opening it for writing is refused anyhow while it runs; any other change tells the mount.
        let permissions = std::fs::metadata(&path).unwrap().permissions();
        let error = std::fs::set_permissions(&path, permissions).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        let output = Command::new(&path).arg0("tests").arg("--list").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("exe::tests::"));
    }

    #[test]
    fn a_file_is_known_by_any_mount_and_a_mount_by_its_own() {
        let own = Place::own().unwrap();
        let exe = readonly(Path::new("/proc/self/exe")).unwrap().unwrap();
        let other = Place::of(&std::ffi::CString::new(path_of(&exe).to_str().unwrap()).unwrap()).unwrap();
        assert!(other.is_file_of(own));
        assert_ne!(other, own);
        assert!(!Place::of(c"/proc/self/status").unwrap().is_file_of(own));
    }
}
