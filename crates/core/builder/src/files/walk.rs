//! Walking a tree: every entry once, in a fixed order, with what the ignore file leaves of it.

use super::{Error, io};
use dockerfile::ignore::{Ignore, Inherited};
use rustix::fs::{FileType, Stat};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// A tree that files are taken from.
pub struct Tree<'a> {
    /// Its root.
    pub root: &'a Root,
    /// What of it does not exist for the build.
    pub ignore: Option<&'a Ignore>,
    /// It is a context: everything belongs to root, whoever owns it on this machine.
    pub is_context: bool,
    /// Asked now and then whether to stop.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Item {
    /// Path in the tree.
    pub path: PathBuf,
    /// Path below the walk's start; empty for the start itself.
    pub relative: PathBuf,
    /// Its type.
    pub kind: FileType,
    /// Its status.
    pub stat: Stat,
    /// What a symbolic link says.
    pub target: Option<PathBuf>,
}

/// The deepest directory that is walked into.
const MAX_DEPTH: usize = 2000;

impl Tree<'_> {
    /// All entries at and below `start` (a path without links), directories before what is in them, names in byte order.
    /// Ignored directories appear if something below them is not ignored.
    pub fn walk(&self, start: &Path) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let (ignored, inherited) = self.inherited(start);
        self.enter(start, Path::new(""), ignored, &inherited, 0, &mut items)?;
        Ok(items)
    }

    /// One entry alone, links in its path resolved.
    pub fn entry(&self, path: &Path) -> Result<Item, Error> {
        let path = super::real::path(self.root, path)?;
        let stat = self.root.lstat(&path).map_err(io("stat", &path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        Ok(Item { path, relative: PathBuf::new(), kind, stat, target: None })
    }

    /// Whether `path` is ignored, and what its children inherit.
    fn inherited(&self, path: &Path) -> (bool, Inherited) {
        let Some(ignore) = self.ignore else { return (false, Inherited::default()) };
        let mut inherited = Inherited::default();
        let mut ignored = false;
        let text = text(path);
        if text.is_empty() {
            return (false, inherited);
        }
        for (end, _) in text.match_indices('/').chain([(text.len(), "")]) {
            (ignored, inherited) = ignore.check(&text[..end], &inherited);
        }
        (ignored, inherited)
    }

    fn enter(
        &self,
        path: &Path,
        relative: &Path,
        ignored: bool,
        inherited: &Inherited,
        depth: usize,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let stat = match self.root.lstat(path) {
            Ok(stat) => stat,
            // Somebody removed it while we looked: then it is not there.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && depth > 0 => return Ok(()),
            Err(e) => return Err(io("stat", path)(e)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            if !ignored {
                let target = match kind {
                    FileType::Symlink => Some(self.root.readlink(path).map_err(io("read link", path))?),
                    _ => None,
                };
                items.push(Item { path: path.into(), relative: relative.into(), kind, stat, target });
            }
            return Ok(());
        }
        if ignored && self.ignore.is_some_and(|i| i.may_skip_below(&text(path))) {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(Error::Conflict { message: format!("{}: directories are too deep", path.display()) });
        }
        if (self.cancelled)() {
            return Err(Error::Cancelled);
        }
        let own = items.len();
        items.push(Item { path: path.into(), relative: relative.into(), kind, stat, target: None });
        let mut entries = self.root.read_dir(path).map_err(io("list", path))?;
        entries.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        for entry in entries {
            let child = path.join(&entry.name);
            let (hidden, state) = match self.ignore {
                Some(ignore) => ignore.check(&text(&child), inherited),
                None => (false, Inherited::default()),
            };
            self.enter(&child, &relative.join(&entry.name), hidden, &state, depth + 1, items)?;
        }
        if ignored && items.len() == own + 1 {
            items.pop();
        }
        Ok(())
    }

    /// Whether the ignore file hides this very path, and which line of it.
    pub fn ignored(&self, path: &Path) -> (bool, Option<u32>) {
        match self.ignore {
            Some(ignore) if !path.as_os_str().is_empty() => ignore.decide(&text(path)),
            _ => (false, None),
        }
    }
}

/// A path as the ignore file sees it.
fn text(path: &Path) -> String {
    path.as_os_str().to_string_lossy().into_owned()
}

/// The last component.
pub fn base_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}
