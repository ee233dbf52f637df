//! Kernel settings of the calling thread's network namespace (`Documentation/networking/ip-sysctl.rst`).

use crate::error::Error;
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use sys::mount::Context;
use sys::root::Root;

/// Gives a setting its value. A kernel without IPv6 has none of its files, and nothing to set.
pub(crate) fn set(path: impl Into<PathBuf>, value: &'static str) -> Result<(), Error> {
    let path = path.into();
    if is(&path, value) {
        return Ok(());
    }
    let outcome = match std::fs::write(&path, value) {
        // Inside of a container its runtime has hidden them, though the interfaces are our own.
        Err(hidden) if hidden.kind() == ErrorKind::ReadOnlyFilesystem => {
            write_privately(&path, value).map_err(|_| hidden)
        }
        outcome => outcome,
    };
    match outcome {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::Sysctl { path, value, source }),
        _ => Ok(()),
    }
}

/// Writes to a procfs that nobody else sees, over which nothing is mounted.
fn write_privately(path: &Path, value: &str) -> io::Result<()> {
    let mut procfs = Context::open("proc").map_err(io::Error::other)?;
    procfs.create().map_err(io::Error::other)?;
    let procfs = procfs.mount(MountAttrFlags::empty()).map_err(io::Error::other)?;
    let path = path.strip_prefix("/proc").map_err(io::Error::other)?;
    let file = Root::from_fd(procfs)?.open_with(path, OFlags::WRONLY, Mode::empty())?;
    std::fs::File::from(file).write_all(value.as_bytes())
}

/// Whether a setting has this value.
pub(crate) fn is(path: &Path, value: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found.trim() == value)
}

/// Where an interface's IPv6 settings are.
pub(crate) fn of_interface6(ifname: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf").join(ifname)
}
