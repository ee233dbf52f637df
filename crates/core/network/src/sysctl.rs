//! Kernel settings of the calling thread's network namespace (`Documentation/networking/ip-sysctl.rst`).

use crate::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Gives a setting its value. A kernel without IPv6 has none of its files, and nothing to set.
pub(crate) fn set(path: impl Into<PathBuf>, value: &'static str) -> Result<(), Error> {
    let path = path.into();
    if is(&path, value) {
        return Ok(());
    }
    match std::fs::write(&path, value) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::Sysctl { path, value, source }),
        _ => Ok(()),
    }
}

/// Whether a setting has this value.
pub(crate) fn is(path: &Path, value: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found.trim() == value)
}

/// Where an interface's IPv6 settings are.
pub(crate) fn of_interface6(ifname: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf").join(ifname)
}
