//! Packing a directory tree: sorted by name, numeric owners, whole seconds.

use crate::whiteout::{self, OPAQUE, OPAQUE_XATTR, OVERLAY_XATTRS};
use crate::write::is_whiteout;
use crate::{Entry, Error, Kind, Packer, Time};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use sys::root::Root;

/// Which tree to pack, and how.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    /// Where it is.
    pub root: &'a Root,
    /// The directory (or file) to pack, below the root; a link at its end is packed as a link. Empty is the root.
    pub path: &'a Path,
    /// Its name in the archive; empty leaves the directory itself out and packs what is in it.
    pub name: &'a Path,
    /// Whether this is a layer in overlayfs' form, whose marks become whiteouts.
    pub layer: bool,
}

/// Adds a tree to an archive. The sum of the sizes of its files.
///
/// File systems that show the kernel's state and are mounted inside are packed as empty directories: their files tell
/// sizes that are not theirs.
pub fn pack_tree<W: Write>(packer: &mut Packer<W>, tree: Tree<'_>) -> Result<u64, Error> {
    let mut walk = Walk { packer, layer: tree.layer, links: HashMap::new(), bytes: 0 };
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let top =
        tree.root.open_with(tree.path, flags, Mode::empty()).map_err(Error::entry("open", tree.path))?;
    let stat = rustix::fs::fstat(&top).map_err(|error| Error::entry("look at", tree.path)(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd =
            tree.root.open_with(tree.path, flags, Mode::empty()).map_err(Error::entry("open", tree.path))?;
        if !tree.name.as_os_str().is_empty() {
            walk.directory_entry(fd.as_fd(), tree.name, &stat)?;
        }
        walk.children(fd, tree.name, stat.st_dev)?;
    } else {
        let slot = tree.root.slot(tree.path).map_err(Error::entry("open", tree.path))?;
        let file = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let open = || tree.root.open_with(tree.path, file, Mode::empty());
        walk.object(slot.parent.as_fd(), &slot.name, tree.name, &stat, open)?;
    }
    Ok(walk.bytes)
}

struct Walk<'p, W> {
    packer: &'p mut Packer<W>,
    layer: bool,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    bytes: u64,
}

/// A directory that is being walked: its names, last first, so that the next is taken off the end.
struct Level {
    fd: OwnedFd,
    name: PathBuf,
    left: Vec<OsString>,
    device: u64,
}

impl<W: Write> Walk<'_, W> {
    /// What is in a directory, depth first. No recursion: a tree may be deeper than a stack.
    fn children(&mut self, fd: OwnedFd, name: &Path, device: u64) -> Result<(), Error> {
        let mut levels = vec![self.level(fd, name.to_path_buf(), device)?];
        while let Some(level) = levels.last_mut() {
            let Some(child) = level.left.pop() else {
                levels.pop();
                continue;
            };
            let path = level.name.join(&child);
            let stat = match rustix::fs::statat(&level.fd, &child, AtFlags::SYMLINK_NOFOLLOW) {
                // A live tree loses files while it is walked.
                Err(Errno::NOENT) => continue,
                other => other.map_err(|error| Error::entry("look at", &path)(error.into()))?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let fd = match crate::write::open_directory(level.fd.as_fd(), &child) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(Error::entry("open", &path))?,
                };
                self.directory_entry(fd.as_fd(), &path, &stat)?;
                if stat.st_dev == level.device || !shows_the_kernel(fd.as_fd()) {
                    levels.push(self.level(fd, path, stat.st_dev)?);
                }
            } else {
                let file =
                    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let open = || Ok(rustix::fs::openat(&level.fd, &child, file, Mode::empty())?);
                self.object(level.fd.as_fd(), &child, &path, &stat, open)?;
            }
        }
        Ok(())
    }

    fn level(&mut self, fd: OwnedFd, name: PathBuf, device: u64) -> Result<Level, Error> {
        let entries = sys::root::entries(&fd).map_err(Error::entry("list", &name))?;
        let mut left: Vec<OsString> = entries.into_iter().map(|entry| entry.name).collect();
        left.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level { fd, name, left, device })
    }

    fn directory_entry(&mut self, fd: BorrowedFd<'_>, path: &Path, stat: &Stat) -> Result<(), Error> {
        let mut entry = Entry::directory(with_slash(path), 0);
        describe(&mut entry, stat);
        let (xattrs, opaque) = attributes(fd).map_err(Error::entry("read attributes of", path))?;
        entry.xattrs = xattrs;
        self.packer.append(&entry)?;
        if self.layer && opaque {
            self.packer.append(&Entry::file(path.join(OPAQUE), 0, 0))?;
        }
        Ok(())
    }

    /// Anything but a directory.
    fn object(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
        open: impl Fn() -> io::Result<OwnedFd>,
    ) -> Result<(), Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.layer && is_whiteout(stat) {
            // Nothing of the mark but its name means anything.
            return self.packer.append(&Entry::file(path.with_file_name(whiteout::name_for(name)), 0, 0));
        }
        let mut entry = Entry::file(path, 0, 0);
        describe(&mut entry, stat);
        if stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    entry.kind = Kind::HardLink;
                    entry.link = first.clone();
                    return self.packer.append(&entry);
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), path.to_path_buf())),
            }
        }
        match kind {
            FileType::RegularFile => {
                let file = match open() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    other => File::from(other.map_err(Error::entry("open", path))?),
                };
                // It may be another one by now, and must be a file: reading a pipe would wait for ever.
                let stat =
                    rustix::fs::fstat(&file).map_err(|error| Error::entry("look at", path)(error.into()))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Ok(());
                }
                describe(&mut entry, &stat);
                entry.size = stat.st_size as u64;
                let (xattrs, _) =
                    attributes(file.as_fd()).map_err(Error::entry("read attributes of", path))?;
                entry.xattrs = xattrs;
                self.bytes += entry.size;
                return self.packer.append_file(&entry, file);
            }
            FileType::Symlink => {
                entry.kind = Kind::Symlink;
                entry.mode = 0o777;
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .map_err(|error| Error::entry("read the link", path)(error.into()))?;
                entry.link = PathBuf::from(OsString::from_vec(target.into_bytes()));
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                entry.kind = if kind == FileType::BlockDevice { Kind::Block } else { Kind::Char };
                entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            }
            FileType::Fifo => entry.kind = Kind::Fifo,
            // A socket means nothing without the process that listens.
            _ => return Ok(()),
        }
        self.packer.append(&entry)
    }
}

/// Whether what is mounted here is no storage: proc, sysfs, control groups, terminals, message queues.
fn shows_the_kernel(directory: BorrowedFd<'_>) -> bool {
    const MAGIC: [u64; 6] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x1980_0202];
    rustix::fs::fstatfs(directory).is_ok_and(|fs| MAGIC.contains(&(fs.f_type as u64)))
}

fn with_slash(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if !name.as_bytes().ends_with(b"/") {
        name.push("/");
    }
    PathBuf::from(name)
}

/// Times lose their fraction: an archive without extended headers has none, and most entries need no other.
fn describe(entry: &mut Entry, stat: &Stat) {
    entry.mode = stat.st_mode & 0o7777;
    (entry.uid, entry.gid) = (stat.st_uid.into(), stat.st_gid.into());
    entry.mtime = Time { seconds: stat.st_mtime, nanoseconds: 0 };
}

/// Names and values.
type Xattrs = Vec<(OsString, Vec<u8>)>;

/// See [`xattrs`]; nearly nothing has any, which one call tells.
fn attributes(fd: BorrowedFd<'_>) -> io::Result<(Xattrs, bool)> {
    match rustix::fs::flistxattr_query(fd) {
        Ok(0) => Ok((Vec::new(), false)),
        _ => xattrs(&format!("/proc/thread-self/fd/{}", fd.as_raw_fd())),
    }
}

/// The attributes that belong into an archive, sorted, and whether overlayfs' opaque mark is among the others.
/// Labels of the machine's security module don't belong there, file capabilities and access lists do.
fn xattrs(path: &str) -> io::Result<(Xattrs, bool)> {
    let mut names = match list_xattrs(path) {
        Err(Errno::NOTSUP) => return Ok((Vec::new(), false)),
        other => other?,
    };
    names.sort_unstable();
    let mut kept = Vec::new();
    let mut opaque = false;
    for name in names {
        let bytes = name.as_bytes();
        let wanted = bytes.starts_with(b"user.")
            || bytes == b"security.capability"
            || bytes.starts_with(b"system.posix_acl_");
        if !wanted && !bytes.starts_with(OVERLAY_XATTRS.as_bytes()) {
            continue;
        }
        let value = match get_xattr(path, &name) {
            Err(Errno::NODATA) => continue,
            other => other?,
        };
        if wanted {
            kept.push((name, value));
        } else if name == OPAQUE_XATTR {
            opaque = value == whiteout::OPAQUE_VALUE;
        } else if bytes == b"trusted.overlay.redirect" || bytes == b"trusted.overlay.metacopy" {
            // The content is in another layer; our mounts never make such a thing.
            return Err(io::Error::other("it is only a reference into another layer"));
        }
    }
    Ok((kept, opaque))
}

fn list_xattrs(path: &str) -> Result<Vec<OsString>, Errno> {
    loop {
        let size = rustix::fs::listxattr_query(path)?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut names = vec![0u8; size];
        match rustix::fs::listxattr(path, &mut names) {
            Err(Errno::RANGE) => {}
            other => {
                names.truncate(other?);
                let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
                return Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect());
            }
        }
    }
}

fn get_xattr(path: &str, name: &OsStr) -> Result<Vec<u8>, Errno> {
    loop {
        let size = rustix::fs::getxattr_query(path, name)?;
        let mut value = vec![0u8; size];
        match rustix::fs::getxattr(path, name, &mut value) {
            Err(Errno::RANGE) => {}
            other => {
                value.truncate(other?);
                return Ok(value);
            }
        }
    }
}
