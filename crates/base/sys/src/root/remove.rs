//! Removal of a tree that an attacker has shaped: any depth, no recursion, a bounded number of open
//! directories.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::entries;

/// Directories deeper than this are first moved up to the top, so that descriptors don't run out.
const MAX_OPEN: usize = 64;

/// Removes `name` in `parent` with all below it.
pub(super) fn tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    match open_dir(parent, name) {
        Ok(dir) => contents(dir)?,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    gone(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
}

/// Removes all below an open directory.
pub(super) fn contents(top: OwnedFd) -> io::Result<()> {
    // Directories moved up reappear as entries of the top, so it is read until nothing is left.
    let mut moved = 0u64;
    loop {
        let list = entries(&top)?;
        if list.is_empty() {
            return Ok(());
        }
        for entry in list {
            remove_entry(top.as_fd(), &entry.name, entry.file_type, &mut moved)?;
        }
    }
}

/// A directory on the way down: it is open, and these entries of it are still there.
struct Level {
    fd: OwnedFd,
    name: std::ffi::OsString,
    rest: Vec<super::Entry>,
}

fn remove_entry(top: BorrowedFd<'_>, name: &OsStr, typ: FileType, moved: &mut u64) -> io::Result<()> {
    let Some(first) = enter(top, name, typ)? else { return Ok(()) };
    let mut stack = vec![first];
    while let Some(level) = stack.last_mut() {
        let Some(entry) = level.rest.pop() else {
            let done = stack.pop().map(|level| level.name).unwrap_or_default();
            let parent = stack.last().map_or(top, |level| level.fd.as_fd());
            gone(rustix::fs::unlinkat(parent, &done, AtFlags::REMOVEDIR))?;
            continue;
        };
        let Some(next) = enter(level.fd.as_fd(), &entry.name, entry.file_type)? else { continue };
        if stack.len() < MAX_OPEN {
            stack.push(next);
        } else if let Some(level) = stack.last() {
            raise(level.fd.as_fd(), &next.name, top, moved)?;
        }
    }
    Ok(())
}

/// Unlinks what is no directory; opens what is one.
fn enter(parent: BorrowedFd<'_>, name: &OsStr, typ: FileType) -> io::Result<Option<Level>> {
    if typ != FileType::Directory {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
    }
    match open_dir(parent, name) {
        Ok(fd) => Ok(Some(Level { rest: entries(&fd)?, fd, name: name.to_owned() })),
        Err(Errno::NOENT) => Ok(None),
        // It was swapped for something else meanwhile; that goes by its name too.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            gone(rustix::fs::unlinkat(parent, name, AtFlags::empty())).map(|()| None)
        }
        Err(e) => Err(e.into()),
    }
}

fn raise(from: BorrowedFd<'_>, name: &OsStr, top: BorrowedFd<'_>, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let up = format!(".remove-{moved}");
        match rustix::fs::renameat_with(from, name, top, up.as_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => continue,
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

fn open_dir(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn gone(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
