//! `tmpcopyup`: a tmpfs that starts with a copy of the directory that it will cover.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Timestamps};
use rustix::mount::MountAttrFlags;
use sys::mount::{Context, SetAttr};
use sys::root::Root;

/// Makes the tmpfs, detached, and fills it from `directory` of `root`. One that is not there leaves it empty. `name` is shown as
/// its source.
pub(super) fn tmpfs(
    root: &Root,
    directory: &Path,
    name: &Path,
    options: Vec<(CString, Option<CString>)>,
    attrs: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let mut fs = Context::open("tmpfs").map_err(io::Error::other)?;
    fs.set("source", &name.to_string_lossy()).map_err(io::Error::other)?;
    for (key, value) in options {
        let key = key.to_string_lossy();
        let set = match value {
            Some(value) => fs.set(&key, &value.to_string_lossy()),
            None => fs.flag(&key),
        };
        set.map_err(io::Error::other)?;
    }
    fs.create().map_err(io::Error::other)?;
    let tree = fs.mount(MountAttrFlags::empty()).map_err(io::Error::other)?;
    match root.open_root(directory) {
        Ok(from) => {
            let to = Root::from_fd(tree.try_clone()?)?;
            contents(&from, &to, Path::new("."))?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // What is mounted below needs its mount point made first: the caller makes it read-only later.
    let set = attrs.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
    sys::mount::set_attr(&tree, &SetAttr { set, ..SetAttr::default() })?;
    Ok(tree)
}

fn contents(from: &Root, to: &Root, directory: &Path) -> io::Result<()> {
    for entry in from.read_dir(directory)? {
        let path = directory.join(&entry.name);
        let stat = from.lstat(&path)?;
        let mode = stat.st_mode & 0o7777;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                to.mkdir(&path, 0o700)?;
                contents(from, to, &path)?;
            }
            FileType::RegularFile => {
                io::copy(&mut from.open_file(&path)?, &mut to.create_file(&path, 0o600)?)?;
            }
            FileType::Symlink => to.symlink(from.readlink(&path)?, &path)?,
            kind => to.mknod(&path, kind, mode, stat.st_rdev)?,
        }
        for name in from.xattr_names(&path)? {
            if let Some(value) = from.xattr(&path, &name)? {
                attribute(to, &path, &name, &value)?;
            }
        }
        to.chown(&path, stat.st_uid, stat.st_gid)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            to.chmod(&path, mode)?;
        }
        let time =
            |seconds: i64, nanoseconds: i64| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec as i64),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec as i64),
        };
        to.utimes(&path, &times)?;
    }
    Ok(())
}

/// A tmpfs knows less attributes than a disk.
fn attribute(to: &Root, path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
    match to.set_xattr(path, name, value) {
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}
