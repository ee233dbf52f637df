//! Layers that say what they change, path by path, and nothing else.
//!
//! A directory that was removed and made anew hides all that lies below it (overlayfs calls it opaque). On another base that would
//! take away what the step that made it has never seen: there the layer says what it took away of its own base. And a file that
//! was moved away and back, or given to the owner that it had, is in the layer as it is in the base: another base keeps its own.

use super::Pair;
use crate::error::Error;
use crate::files::copy::Writer;
use crate::files::walk::{Item, Tree};
use crate::files::{self, io};
use crate::graph::Op;
use crate::session::{Scratch, Session, io_error};
use crate::squash::{is_opaque, mark};
use crate::step::file_error;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use store::Layer;
use sys::root::Root;

/// The files of a layer that hides directories or has what its base has: with a mark for each path instead, and without those. None
/// where the layer says just what it changes.
pub(super) fn files(
    session: &Session<'_>,
    op: &Op,
    layer: &Layer,
) -> Result<Option<(Scratch, PathBuf)>, Error> {
    let found = session.env.store.own_dirs(layer);
    let found = found.map_err(|e| Error::Store { attempt: "find layers", source: e.into() })?;
    // What lies over another layer was copied in: its directories hide nothing.
    let [directory] = &found[..] else { return Ok(None) };
    let root = sys::mount::layer_root(directory).map_err(io_error("open", directory))?;
    let cancelled = || session.stopped();
    let tree = Tree { root: &root, ignore: None, is_context: false, cancelled: &cancelled };
    let fail = |e| file_error(session, op, e);
    let items = tree.walk(Path::new("")).map_err(fail)?;
    let below = session.view(layer.parent.as_ref())?;
    let hides =
        |item: &&Item| item.kind == FileType::Directory && !item.is_plain && is_opaque(&root, &item.path);
    let hiding: Vec<&Path> = items.iter().filter(hides).map(|item| &*item.path).collect();
    let before = below.as_ref().map(|below| before(below, &items)).unwrap_or_default();
    let pair = Pair { now: &root, old: below.as_ref(), before: &before };
    // To copy all else for the sake of directories alone is not worth it.
    let repeats = |item: &Item| item.kind != FileType::Directory && pair.is_same(item);
    if hiding.is_empty() && !items.iter().any(repeats) {
        return Ok(None);
    }
    let scratch = session.scratch()?;
    let written = scratch.dir("written")?;
    let upper = Root::open(&written).map_err(io_error("open", &written))?;
    let mut writer = Writer::plain(&upper);
    if let Some(below) = &below {
        let marking = Marking { below, layer: &root, writer: &writer };
        // Before the directories get their times.
        hiding.iter().try_for_each(|path| marking.hidden(path)).map_err(fail)?;
    }
    writer.copy_exact(&tree, &pair.changed(&items, &hiding)).map_err(fail)?;
    Ok(Some((scratch, written)))
}

/// What the base has at the paths of a layer.
fn before(below: &Root, items: &[Item]) -> BTreeMap<PathBuf, Item> {
    let at = |path: &Path| {
        let stat = below.lstat(path).ok()?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let target = is_link.then(|| below.readlink(path).ok()).flatten();
        Some((path.to_path_buf(), Item::start(path, &stat, target.map(PathBuf::into_boxed_path))))
    };
    items.iter().filter_map(|item| at(&item.path)).collect()
}

struct Marking<'m> {
    below: &'m Root,
    layer: &'m Root,
    writer: &'m Writer<'m>,
}

impl Marking<'_> {
    /// Marks what a directory hides and does not have itself; so it is with all directories in it.
    fn hidden(&self, path: &Path) -> Result<(), files::Error> {
        let mut open = vec![path.to_path_buf()];
        while let Some(path) = open.pop() {
            if !is_directory(self.below, &path) {
                continue;
            }
            for entry in self.below.read_dir(&path).map_err(io("list", &path))? {
                let child = path.join(&entry.name);
                if self.layer.lstat(&child).is_err() {
                    self.writer.make_dirs(&path)?;
                    mark(self.writer.root, &child)?;
                } else if is_directory(self.layer, &child) {
                    open.push(child);
                }
            }
        }
        Ok(())
    }
}

fn is_directory(root: &Root, path: &Path) -> bool {
    root.lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
