//! Overlays of many layers on kernels before 6.5: their `fsconfig` takes no value over 255 bytes, and they
//! lack `lowerdir+`.
//!
//! `mount(2)` takes a page of options, but mounts somewhere. So a thread of its own mounts in a mount
//! namespace of its own and hands out a detached clone; the namespace ends with the thread, and nobody else
//! ever saw the mount.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::Overlay;

/// Mounts `overlay`, detached.
pub(super) fn mount(overlay: &Overlay) -> io::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let mounting = scope.spawn(|| mount_and_clone(overlay));
        mounting.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    })
}

fn mount_and_clone(overlay: &Overlay) -> io::Result<OwnedFd> {
    // SAFETY: the thread is ours alone and ends here; no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS)? };
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let place = overlay.lower.first().ok_or(io::ErrorKind::InvalidInput)?;
    // Opened here, since the kernel takes layers of the mounting thread's own namespace only.
    let mut held = Vec::new();
    let options = CString::new(options(overlay, &mut held)?)?;
    rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), options.as_c_str())?;
    super::open_tree_clone(CWD, place, false)
}

/// The options, with each directory named by a descriptor: short, and free of separators.
fn options(overlay: &Overlay, held: &mut Vec<OwnedFd>) -> io::Result<String> {
    let mut name = |path: &Path| -> io::Result<String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        held.push(fd);
        Ok(name)
    };
    let lower = overlay.lower.iter().map(|path| name(path)).collect::<io::Result<Vec<_>>>()?;
    let mut options = format!("lowerdir={}", lower.join(":"));
    if let Some(upper) = &overlay.upper {
        let work = name(overlay.work.as_deref().unwrap_or(Path::new("")))?;
        options +=
            &format!(",upperdir={},workdir={work},redirect_dir=off,metacopy=off,index=off", name(upper)?);
        if overlay.volatile {
            options += ",volatile";
        }
    }
    Ok(options)
}
