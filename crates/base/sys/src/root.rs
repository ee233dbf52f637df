//! Paths below a root directory, resolved by the kernel so that they cannot leave it.
//!
//! Everything that touches a path which an image, a container or a build context has chosen goes through
//! [`Root`]. Each path, absolute or relative, is looked up by `openat2` with `RESOLVE_IN_ROOT |
//! RESOLVE_NO_MAGICLINKS`: `..` stops at the root, absolute symbolic links start at it, `/proc/self/fd/N`
//! style links are refused (CVE-2018-15664, CVE-2024-45310). Operations on a name resolve its parent and act
//! on the last component by `*at` calls, so a symbolic link there is never followed unless a function says
//! so.
//!
//! Errors are plain `io::Error`s of the failing call; the caller knows the path and adds it. Needs Linux 5.6.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timestamps};
use rustix::io::Errno;

use crate::make_path::{Want, make_path};

mod remove;

const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// `openat2` gives EAGAIN when a rename elsewhere races with a `..`; an attacker can do that for ever.
const RACE_RETRIES: usize = 128;

/// A directory that stands for `/`. Cheap to share by reference; the descriptor is close-on-exec.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    /// [`FileType::Unknown`] on file systems that don't tell; ask [`Root::lstat`] then.
    pub file_type: FileType,
}

/// A resolved parent directory and the last component in it: what `*at` calls take.
#[derive(Debug)]
pub struct Slot {
    pub parent: OwnedFd,
    pub name: OsString,
}

impl Root {
    /// Opens a directory of the machine as a root. This path itself is trusted and may hold links.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root { fd: rustix::fs::open(path.as_ref(), flags, Mode::empty())? })
    }

    /// Takes a directory (also a detached mount from [`crate::mount`]) as a root.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Root> {
        match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::Directory => Ok(Root { fd }),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// The root directory, as seen through its mount namespace, of a process.
    pub fn of_process(pid: i32) -> io::Result<Root> {
        Root::open(format!("/proc/{pid}/root"))
    }

    /// The directory itself.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// A second handle on the same directory.
    pub fn try_clone(&self) -> io::Result<Root> {
        Ok(Root { fd: self.fd.try_clone()? })
    }

    /// Opens `path` with any flags; links are followed inside the root unless `flags` has `NOFOLLOW`.
    pub fn open_with(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = below(path.as_ref());
        for _ in 0..RACE_RETRIES {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, RESOLVE) {
                Err(Errno::AGAIN) => continue,
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// An `O_PATH` handle on whatever `path` leads to.
    pub fn resolve(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH, Mode::empty())
    }

    /// Opens an existing file for reading, following links inside the root. Never blocks on a fifo.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.open_with(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
            .map(File::from)
    }

    /// As [`Root::open_file`], but gives the content, refuses what is no regular file or is larger than
    /// `limit` bytes. A device is not even opened: some do things then.
    pub fn read_file(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let regular = |stat: Stat| match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        };
        regular(self.stat(&path)?)?;
        let file = self.open_file(path)?;
        regular(rustix::fs::fstat(&file)?)?;
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(Errno::FBIG.into());
        }
        Ok(content)
    }

    /// A directory below this root as a root of its own.
    pub fn open_root(&self, path: impl AsRef<Path>) -> io::Result<Root> {
        Ok(Root { fd: self.open_with(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())? })
    }

    /// Resolves the parent of `path`. The last component may be absent or anything; it is never `.` or `..`.
    pub fn slot(&self, path: impl AsRef<Path>) -> io::Result<Slot> {
        let path = below(path.as_ref());
        let (Some(name), parent) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else {
            return Err(Errno::INVAL.into());
        };
        if path.as_os_str().as_bytes().ends_with(b"/.") {
            return Err(Errno::INVAL.into());
        }
        let parent = self.open_with(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Slot { parent, name: name.to_owned() })
    }

    /// Creates a new regular file for writing. Fails with `AlreadyExists` on anything of that name, also a
    /// dangling link.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let slot = self.slot(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&slot.parent, &slot.name, flags, Mode::from_raw_mode(mode))?))
    }

    /// Makes one directory.
    pub fn mkdir(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        let slot = self.slot(path)?;
        Ok(rustix::fs::mkdirat(&slot.parent, &slot.name, Mode::from_raw_mode(mode))?)
    }

    /// Makes a directory and what lacks of its parents, and gives an `O_PATH` handle on it. Links are followed inside
    /// the root, and what a dangling one means is made.
    pub fn mkdir_p(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<OwnedFd> {
        let path = below(path.as_ref());
        match self.open_with(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let (path, mode) = (path.as_os_str().as_bytes(), Mode::from_raw_mode(mode));
        Ok(make_path(self.fd.as_fd(), path, Want::Directory, mode, true)?)
    }

    /// Makes a symbolic link at `path` that says `target`, which is not looked at.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> io::Result<()> {
        let slot = self.slot(path)?;
        Ok(rustix::fs::symlinkat(target.as_ref(), &slot.parent, &slot.name)?)
    }

    /// Makes `path` a second name of `existing`; a link at `existing` is not followed.
    pub fn hardlink(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> io::Result<()> {
        let (from, to) = (self.slot(existing)?, self.slot(path)?);
        Ok(rustix::fs::linkat(&from.parent, &from.name, &to.parent, &to.name, AtFlags::empty())?)
    }

    /// Makes a device node, fifo, socket or empty file.
    pub fn mknod(&self, path: impl AsRef<Path>, typ: FileType, mode: u32, dev: Dev) -> io::Result<()> {
        let slot = self.slot(path)?;
        Ok(rustix::fs::mknodat(&slot.parent, &slot.name, typ, Mode::from_raw_mode(mode), dev)?)
    }

    /// What a symbolic link says.
    pub fn readlink(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let slot = self.slot(path)?;
        let target = rustix::fs::readlinkat(&slot.parent, &slot.name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// Status of what `path` leads to.
    pub fn stat(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.resolve(path)?)?)
    }

    /// Status of `path` itself.
    pub fn lstat(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        let fd = self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(rustix::fs::fstat(fd)?)
    }

    /// Removes a name that is no directory.
    pub fn unlink(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let slot = self.slot(path)?;
        Ok(rustix::fs::unlinkat(&slot.parent, &slot.name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let slot = self.slot(path)?;
        Ok(rustix::fs::unlinkat(&slot.parent, &slot.name, AtFlags::REMOVEDIR)?)
    }

    /// Removes `path` and all below it, of any depth, following nothing. What is absent already is no error.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match self.slot(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(slot) => remove::tree(slot.parent.as_fd(), &slot.name),
        }
    }

    /// Empties a directory, which stays.
    pub fn remove_contents(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        remove::contents(self.open_with(path, flags, Mode::empty())?)
    }

    /// Renames, replacing what has the new name as rename(2) does.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        self.rename_with(from, to, RenameFlags::empty())
    }

    /// Renames with `NOREPLACE`, `EXCHANGE` or `WHITEOUT`.
    pub fn rename_with(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        flags: RenameFlags,
    ) -> io::Result<()> {
        let (from, to) = (self.slot(from)?, self.slot(to)?);
        Ok(rustix::fs::renameat_with(&from.parent, &from.name, &to.parent, &to.name, flags)?)
    }

    /// The entries of a directory but `.` and `..`, in the file system's order.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> io::Result<Vec<Entry>> {
        let fd = self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        entries(fd)
    }

    /// One extended attribute of `path` itself; `None` when it has none of that name.
    pub fn xattr(&self, path: impl AsRef<Path>, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
        let link = Link::new(self, path)?;
        loop {
            let size = match rustix::fs::getxattr_query(&link.path, name) {
                Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
                other => other?,
            };
            let mut value = vec![0; size];
            match rustix::fs::getxattr(&link.path, name, &mut value) {
                Err(Errno::RANGE) => continue,
                Err(Errno::NODATA) => return Ok(None),
                other => value.truncate(other?),
            }
            return Ok(Some(value));
        }
    }

    /// The names of the extended attributes of `path` itself; none where the file system has no such thing.
    pub fn xattr_names(&self, path: impl AsRef<Path>) -> io::Result<Vec<OsString>> {
        let link = Link::new(self, path)?;
        loop {
            let size = match rustix::fs::listxattr_query(&link.path) {
                Err(Errno::NOTSUP) => return Ok(Vec::new()),
                other => other?,
            };
            let mut names = vec![0u8; size];
            match rustix::fs::listxattr(&link.path, &mut names) {
                Err(Errno::RANGE) => continue,
                other => names.truncate(other?),
            }
            let names = names.split(|b| *b == 0).filter(|n| !n.is_empty());
            return Ok(names.map(|n| OsStr::from_bytes(n).to_owned()).collect());
        }
    }

    /// Sets an extended attribute of `path` itself.
    pub fn set_xattr(&self, path: impl AsRef<Path>, name: &OsStr, value: &[u8]) -> io::Result<()> {
        let link = Link::new(self, path)?;
        Ok(rustix::fs::setxattr(&link.path, name, value, rustix::fs::XattrFlags::empty())?)
    }

    /// Removes an extended attribute of `path` itself.
    pub fn remove_xattr(&self, path: impl AsRef<Path>, name: &OsStr) -> io::Result<()> {
        let link = Link::new(self, path)?;
        Ok(rustix::fs::removexattr(&link.path, name)?)
    }

    /// Gives `path` itself, also a symbolic link, to an owner.
    pub fn chown(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> io::Result<()> {
        let fd = self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }

    /// Sets the permission bits, with set-id and sticky ones. A symbolic link has none: that is
    /// `Unsupported`.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        let link = Link::new(self, path)?;
        Ok(rustix::fs::chmod(&link.path, Mode::from_raw_mode(mode))?)
    }

    /// Sets the times of `path` itself.
    pub fn utimes(&self, path: impl AsRef<Path>, times: &Timestamps) -> io::Result<()> {
        let slot = self.slot(path)?;
        Ok(rustix::fs::utimensat(&slot.parent, &slot.name, times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A name for an `O_PATH` descriptor, for the calls that take no descriptor. The kernel jumps to the very
/// object, so a symbolic link is meant itself.
struct Link {
    path: String,
    _fd: OwnedFd,
}

impl Link {
    fn new(root: &Root, path: impl AsRef<Path>) -> io::Result<Link> {
        let fd = root.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Link { path: format!("/proc/thread-self/fd/{}", fd.as_raw_fd()), _fd: fd })
    }
}

/// The path without the slashes at its start; the empty path is the root itself.
fn below(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().position(|b| *b != b'/').unwrap_or(bytes.len());
    if start == bytes.len() { Path::new(".") } else { Path::new(OsStr::from_bytes(&bytes[start..])) }
}

/// The entries of an open directory but `.` and `..`.
pub fn entries(fd: impl AsFd) -> io::Result<Vec<Entry>> {
    let mut list = Vec::new();
    for entry in rustix::fs::Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            list.push(Entry { name: OsStr::from_bytes(name).to_owned(), file_type: entry.file_type() });
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
