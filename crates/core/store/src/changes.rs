//! What a container changed: its upper directory compared with the layers below it.

use crate::{Error, Store};
use oci::ChainId;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is other than below.
    Modified,
    /// Nothing below has it.
    Added,
    /// It is gone.
    Deleted,
}

/// A changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute, as in the container.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

impl Store {
    /// What an upper directory changes on top of a chain, sorted by path.
    pub fn changes(&self, chain: Option<&ChainId>, upper: &Path) -> Result<Vec<Change>, Error> {
        let root = Root::open(upper).map_err(Error::io("open", upper))?;
        let below = Below { lower: self.roots(chain)? };
        let mut changes = Vec::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let entries = match root.read_dir(&directory) {
                Err(error) if is_absent(&error) => continue,
                other => other.map_err(Error::io("list", upper.join(&directory)))?,
            };
            for entry in entries {
                let path = directory.join(&entry.name);
                // A live tree loses files while it is looked at.
                let Ok(stat) = root.lstat(&path) else { continue };
                if let Some(kind) = below.compare(&root, &path, &stat)? {
                    changes.push(Change { path: Path::new("/").join(&path), kind });
                }
                if is_directory(&stat) {
                    if is_opaque(&root, &path) {
                        below.hidden(&root, &path, &mut changes)?;
                    }
                    directories.push(path);
                }
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }
}

struct Below {
    lower: Vec<Root>,
}

impl Below {
    fn compare(&self, upper: &Root, path: &Path, stat: &Stat) -> Result<Option<ChangeKind>, Error> {
        let below = self.stat(path);
        if is_whiteout(stat) {
            // A mark of what was made and removed again hides nothing.
            return Ok(below.map(|_| ChangeKind::Deleted));
        }
        let Some((root, below)) = below else { return Ok(Some(ChangeKind::Added)) };
        // Overlayfs copies directories up for the sake of what is in them, with their times; a name that was added or
        // removed makes the time a new one, and Docker counts that as a change.
        let both_directories = is_directory(stat) && is_directory(&below);
        if both_directories && same(stat, &below) && same_time(stat, &below) && !is_opaque(upper, path) {
            return Ok(None);
        }
        // A file that was opened to be written and wasn't is copied up too.
        if !is_directory(stat)
            && same(stat, &below)
            && stat.st_size == below.st_size
            && same_time(stat, &below)
        {
            let links = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if !links || upper.readlink(path).ok() == root.readlink(path).ok() {
                return Ok(None);
            }
        }
        Ok(Some(ChangeKind::Modified))
    }

    /// What is below at a path, in the layer that decides about it.
    fn stat(&self, path: &Path) -> Option<(&Root, Stat)> {
        for root in &self.lower {
            // A directory above that is a mark, a file or opaque here hides what is further below.
            let mut prefix = PathBuf::new();
            let mut hides = false;
            for component in path.iter() {
                prefix.push(component);
                match root.lstat(&prefix) {
                    Ok(stat) if prefix == path => return (!is_whiteout(&stat)).then_some((root, stat)),
                    Ok(stat) if is_directory(&stat) => hides |= is_opaque(root, &prefix),
                    Ok(_) => return None,
                    Err(_) => break,
                }
            }
            if hides {
                return None;
            }
        }
        None
    }

    /// What an opaque directory hides and doesn't have itself.
    fn hidden(&self, upper: &Root, path: &Path, changes: &mut Vec<Change>) -> Result<(), Error> {
        let mut names: Vec<_> = Vec::new();
        for root in &self.lower {
            match root.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) => {
                    let entries = sys::root::entries(fd).map_err(Error::io("list", path))?;
                    names.extend(entries.into_iter().map(|entry| entry.name));
                }
                Err(_) => continue,
            }
        }
        names.sort();
        names.dedup();
        for name in names {
            let child = path.join(&name);
            if upper.lstat(&child).is_err() && self.stat(&child).is_some() {
                changes.push(Change { path: Path::new("/").join(child), kind: ChangeKind::Deleted });
            }
        }
        Ok(())
    }
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) == (b.st_mode, b.st_uid, b.st_gid, b.st_rdev)
}

pub(crate) fn same_time(a: &Stat, b: &Stat) -> bool {
    (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec)
}

pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(root: &Root, path: &Path) -> bool {
    root.xattr(path, OsStr::new(archive::OPAQUE_XATTR)).is_ok_and(|value| value.as_deref() == Some(b"y"))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
