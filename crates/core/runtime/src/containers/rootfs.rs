//! The root file system of a container that has the machine's mounts: it is mounted where everybody sees it, and has to
//! be unmounted.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci::runtime::NamespaceType;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::Error;
use super::bundle::Bundle;
use super::record::Record;
use crate::{Rootfs, mounts};

/// The root file system as a detached mount, for a container without a mount namespace of its own.
pub(super) fn mount(bundle: &Bundle) -> Result<Option<OwnedFd>, Error> {
    let linux = bundle.spec.linux.as_ref();
    let apart = |linux: &oci::runtime::Linux| linux.namespace(NamespaceType::Mount).is_some();
    if linux.is_none_or(apart) {
        return Ok(None);
    }
    mounts::rootfs(&Rootfs::Path(bundle.rootfs.clone())).map(Some).map_err(Error::Start)
}

/// The id of a mount, which it keeps when it is attached.
pub(super) fn id(tree: &OwnedFd) -> Result<u64, Error> {
    number(tree, Path::new(""), AtFlags::EMPTY_PATH).map_err(|source| {
        Error::Start(crate::Error::Call { attempt: "look at the root file system".to_owned(), source })
    })
}

/// Unmounts it with all that is below. Another mount that is there is somebody else's.
pub(super) fn unmount(record: &Record) -> Result<(), Error> {
    let Some(id) = record.mount else { return Ok(()) };
    let fail = |source: io::Error| {
        let attempt = format!("unmount {}", record.rootfs.display());
        Error::Start(crate::Error::Call { attempt, source })
    };
    match number(CWD, &record.rootfs, AtFlags::empty()) {
        Ok(found) if found == id => {}
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(e)),
    }
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    rustix::mount::unmount(&record.rootfs, flags).map_err(|e| fail(e.into()))
}

fn number(dir: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<u64> {
    let stat = rustix::fs::statx(dir, path, flags, StatxFlags::MNT_ID)?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Errno::NOSYS.into());
    }
    Ok(stat.stx_mnt_id)
}
