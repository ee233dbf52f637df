//! One object of the file system: making it, its content, and what is set on it.

use crate::whiteout::{OPAQUE_VALUE, OPAQUE_XATTR, OVERLAY_XATTRS};
use crate::{Entry, Error, Kind, Reader, Time};
use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use sys::root::Root;
use sys::space::Room;

/// Attributes that are access lists.
const ACCESS_LISTS: &[u8] = b"system.posix_acl_";

/// What was made, open.
pub(crate) enum Made {
    /// Nothing that anything is to be set on.
    Nothing,
    /// An empty regular file.
    File(File),
    /// A directory.
    Directory(OwnedFd),
    /// Anything else, as an `O_PATH` descriptor.
    Other(OwnedFd),
}

/// Makes the object of an entry that is no hard link. Something of that name is `AlreadyExists`.
pub(crate) fn make(parent: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> io::Result<Made> {
    let mode = Mode::from_raw_mode(entry.mode);
    match entry.kind {
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return Ok(Made::File(File::from(rustix::fs::openat(parent, name, flags, mode)?)));
        }
        Kind::Directory => {
            rustix::fs::mkdirat(parent, name, mode)?;
            return Ok(Made::Directory(open_directory(parent, name)?));
        }
        Kind::Symlink => rustix::fs::symlinkat(&entry.link, parent, name)?,
        Kind::HardLink => return Err(io::ErrorKind::InvalidInput.into()),
        Kind::Char | Kind::Block | Kind::Fifo => {
            let (kind, device) = match entry.kind {
                Kind::Char => (FileType::CharacterDevice, entry.device),
                Kind::Block => (FileType::BlockDevice, entry.device),
                _ => (FileType::Fifo, (0, 0)),
            };
            rustix::fs::mknodat(parent, name, kind, mode, rustix::fs::makedev(device.0, device.1))?;
        }
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Made::Other(rustix::fs::openat(parent, name, flags, Mode::empty())?))
}

/// Makes a second name for `target`, a path below the root; a link at its end is not followed. That the name
/// exists and means the same object already is fine.
pub(crate) fn make_link(
    root: &Root,
    target: &Path,
    parent: BorrowedFd<'_>,
    name: &OsStr,
) -> io::Result<Made> {
    let from = root.slot(target)?;
    match rustix::fs::linkat(&from.parent, &from.name, parent, name, AtFlags::empty()) {
        Err(Errno::EXIST) => {
            let (old, new) = (lstat(from.parent.as_fd(), &from.name)?, lstat(parent, name)?);
            match (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino) {
                true => Ok(Made::Nothing),
                false => Err(Errno::EXIST.into()),
            }
        }
        other => Ok(other.map(|()| Made::Nothing)?),
    }
}

/// Opens a directory by its name in another, following nothing.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Status of a name, following nothing.
pub(crate) fn lstat(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Whether this is overlayfs' mark of a name that is gone.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Makes the mark of a name that is gone. Where this layer has the name itself, that hides what is below: a
/// directory has to be made opaque for it.
pub(crate) fn white_out(parent: BorrowedFd<'_>, gone: &OsStr) -> io::Result<()> {
    let device: Dev = rustix::fs::makedev(0, 0);
    match rustix::fs::mknodat(parent, gone, FileType::CharacterDevice, Mode::empty(), device) {
        Err(Errno::EXIST) => match open_directory(parent, gone) {
            Ok(directory) => set_opaque(directory.as_fd()),
            Err(_) => Ok(()),
        },
        other => Ok(other?),
    }
}

/// Marks a directory as hiding all that it has in the layers below.
pub(crate) fn set_opaque(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(directory, OPAQUE_XATTR, OPAQUE_VALUE, XattrFlags::empty())?)
}

/// Writes the data of the current entry into its file.
pub(crate) fn content<R: BufRead>(
    file: &File,
    entry: &Entry,
    reader: &mut Reader<R>,
    room: &mut Option<Room>,
) -> Result<(), Error> {
    let failed = || Error::entry("write", &entry.path);
    let mut take = |bytes: usize| room.as_mut().map_or(Ok(()), |room| room.take(bytes as u64));
    let Some(segments) = &entry.sparse else {
        let mut writer = file;
        return reader.copy_data(u64::MAX, |piece| {
            take(piece.len()).and_then(|()| writer.write_all(piece)).map_err(failed())
        });
    };
    file.set_len(entry.size).map_err(failed())?;
    for segment in segments {
        let mut offset = segment.offset;
        reader.copy_data(segment.length, |piece| {
            take(piece.len()).and_then(|()| file.write_all_at(piece, offset)).map_err(failed())?;
            offset += piece.len() as u64;
            Ok(())
        })?;
    }
    Ok(())
}

/// What is set on an object.
pub(crate) struct Metadata {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    time: Option<Time>,
    xattrs: Vec<(OsString, Vec<u8>)>,
    /// It has this owner already.
    pub skip_owner: bool,
    /// It has this mode already.
    pub skip_mode: bool,
}

impl Metadata {
    /// What an entry says.
    pub(crate) fn of(entry: &Entry, owner: Option<(u32, u32)>) -> Metadata {
        // The reader has refused ids that don't fit.
        let (uid, gid) = owner.unwrap_or((entry.uid as u32, entry.gid as u32));
        let kept = |name: &OsStr| !name.as_bytes().starts_with(OVERLAY_XATTRS.as_bytes());
        Metadata {
            mode: entry.mode,
            uid,
            gid,
            time: Some(entry.mtime),
            xattrs: entry.xattrs.iter().filter(|(name, _)| kept(name)).cloned().collect(),
            skip_owner: false,
            skip_mode: false,
        }
    }

    /// A directory that no entry speaks about.
    pub(crate) fn directory(uid: u32, gid: u32) -> Metadata {
        Metadata {
            mode: 0o755,
            uid,
            gid,
            time: None,
            xattrs: Vec::new(),
            skip_owner: false,
            skip_mode: false,
        }
    }

    /// Mode, owner and time of an existing object.
    pub(crate) fn like(stat: &Stat) -> Metadata {
        Metadata {
            mode: stat.st_mode & 0o7777,
            time: Some(Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 }),
            ..Metadata::directory(stat.st_uid, stat.st_gid)
        }
    }

    /// Takes out what is set on a directory when nothing is put in it any more: the time and access lists.
    pub(crate) fn split_late(&mut self) -> Metadata {
        let is_list = |name: &OsStr| name.as_bytes().starts_with(ACCESS_LISTS);
        let (late, now) = std::mem::take(&mut self.xattrs).into_iter().partition(|(name, _)| is_list(name));
        self.xattrs = now;
        Metadata { time: self.time, xattrs: late, ..Metadata::directory(self.uid, self.gid) }
    }

    /// Sets all but the times on an open file; how many attributes were refused.
    pub(crate) fn set(&self, fd: BorrowedFd<'_>) -> io::Result<u64> {
        self.set_owner_and_mode(fd)?;
        self.set_xattrs(fd)
    }

    /// Owner first: changing it takes set-id bits and file capabilities away.
    pub(crate) fn set_owner_and_mode(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !self.skip_owner {
            rustix::fs::fchown(fd, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        if !self.skip_mode {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(self.mode))?;
        }
        Ok(())
    }

    pub(crate) fn set_xattrs(&self, fd: BorrowedFd<'_>) -> io::Result<u64> {
        self.each_xattr(|name, value| rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()))
    }

    pub(crate) fn set_times(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self.timestamps() {
            Some(times) => Ok(rustix::fs::futimens(fd, &times)?),
            None => Ok(()),
        }
    }

    /// Sets everything on an object that can't be opened: a link, a device, a pipe.
    pub(crate) fn set_by_path(&self, fd: &OwnedFd) -> io::Result<u64> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        let path = format!("/proc/thread-self/fd/{}", fd.as_raw_fd());
        let is_link = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Symlink;
        if !is_link {
            rustix::fs::chmod(&path, Mode::from_raw_mode(self.mode))?;
        }
        // Following the link in /proc leads to the object itself, also where that is a symbolic link.
        let skipped =
            self.each_xattr(|name, value| rustix::fs::setxattr(&path, name, value, XattrFlags::empty()))?;
        if let Some(times) = self.timestamps() {
            rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH)?;
        }
        Ok(skipped)
    }

    /// Attributes that the file system doesn't have or that need a right that we lack are left out, as Docker does.
    fn each_xattr(&self, set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>) -> io::Result<u64> {
        let mut skipped = 0;
        for (name, value) in &self.xattrs {
            match set(name, value) {
                Ok(()) => {}
                Err(Errno::NOTSUP | Errno::PERM) => skipped += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(skipped)
    }

    fn timestamps(&self) -> Option<Timestamps> {
        let time = self.time?;
        let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
        Some(Timestamps { last_access: time, last_modification: time })
    }
}
