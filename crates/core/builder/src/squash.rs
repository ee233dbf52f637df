//! `--squash`: the layers that a build added become one on top of the base image.
//!
//! Layers are applied lowest first in overlayfs' own form: a whiteout (character device 0:0) takes a name away and stays as
//! a mark for the layers below, an opaque directory hides what is below it.

use crate::error::Error;
use crate::files::copy::{Writer, clamp_times};
use crate::files::walk::{Item, Tree};
use crate::files::{self};
use crate::session::{Scratch, Session, io_error};
use oci::ChainId;
use oci::image::History;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use sys::root::Root;

const OPAQUE: &str = "trusted.overlay.opaque";

/// Merges `new` (lowest first) into one layer on `parent`.
pub(crate) fn squash(
    session: &Session<'_>,
    parent: Option<&ChainId>,
    new: &[store::Layer],
) -> Result<store::Layer, Error> {
    let scratch = session.scratch()?;
    let upper = merged(session, &scratch, parent, new)?;
    let made = session.env.store.layer_from_dir(session.lease, parent, &upper);
    made.map_err(store_error("make squashed layer"))
}

/// The layer on `parent` without files from after this time; as it is if it has none.
pub(crate) fn dated(
    session: &Session<'_>,
    parent: Option<&ChainId>,
    layer: &store::Layer,
    latest: i64,
) -> Result<store::Layer, Error> {
    let failed = |e: files::Error| Error::Store { attempt: "set times of the layer", source: e.into() };
    let store = &session.env.store;
    let mut is_newer = false;
    for dir in store.own_dirs(layer).map_err(store_error("find a layer"))? {
        is_newer |= has_newer(session, &dir, latest).map_err(failed)?;
    }
    if !is_newer {
        return store.rebase(session.lease, layer, parent).map_err(store_error("put a layer on another"));
    }
    let scratch = session.scratch()?;
    let upper = merged(session, &scratch, parent, std::slice::from_ref(layer))?;
    clamp_times(&upper, latest).map_err(failed)?;
    store.layer_from_dir(session.lease, parent, &upper).map_err(store_error("make a layer anew"))
}

/// Whether anything in a layer's directory is from after this time. Of the root and of whiteouts its archive tells no times.
fn has_newer(session: &Session<'_>, dir: &Path, latest: i64) -> Result<bool, files::Error> {
    let layer = sys::mount::layer_root(dir).map_err(files::io("open", dir))?;
    let cancelled = || session.stopped();
    let tree = Tree { root: &layer, ignore: None, is_context: false, cancelled: &cancelled };
    let is_told = |item: &Item| !item.path.as_os_str().is_empty() && !is_whiteout(item);
    Ok(tree.walk(Path::new(""))?.iter().any(|item| is_told(item) && item.stat.modified > (latest, 0)))
}

fn store_error(attempt: &'static str) -> impl FnOnce(store::Error) -> Error {
    move |e| Error::Store { attempt, source: e.into() }
}

/// A directory with what the layers give, one over the other.
fn merged(
    session: &Session<'_>,
    scratch: &Scratch,
    parent: Option<&ChainId>,
    new: &[store::Layer],
) -> Result<PathBuf, Error> {
    let upper = scratch.dir("upper")?;
    let root = Root::open(&upper).map_err(io_error("open", &upper))?;
    let below = session.view(parent)?;
    for layer in new {
        for dir in
            session.env.store.own_dirs(layer).map_err(store_error("find layers to squash"))?.iter().rev()
        {
            let merged = merge(session, dir, &root, below.as_ref());
            merged.map_err(|e| Error::Store { attempt: "squash layers", source: e.into() })?;
        }
    }
    Ok(upper)
}

fn merge(session: &Session<'_>, dir: &Path, upper: &Root, below: Option<&Root>) -> Result<(), files::Error> {
    let layer = sys::mount::layer_root(dir).map_err(files::io("open", dir))?;
    let cancelled = || session.stopped();
    let tree = Tree { root: &layer, ignore: None, is_context: false, cancelled: &cancelled };
    let mut writer = Writer::plain(upper);
    let items = tree.walk(Path::new(""))?;
    for item in items.iter().filter(|i| !i.path.as_os_str().is_empty()) {
        if is_whiteout(item) {
            upper.remove_all(&item.path).map_err(files::io("remove", &item.path))?;
            if below.is_some_and(|b| b.lstat(&item.path).is_ok()) {
                mark(upper, &item.path)?;
            }
        } else if item.kind == FileType::Directory {
            directory(&layer, upper, item)?;
        } else {
            upper.remove_all(&item.path).map_err(files::io("replace", &item.path))?;
        }
    }
    let kept: Vec<Item> = items.into_iter().filter(|i| !is_whiteout(i)).collect();
    writer.copy_exact(&tree, &kept)
}

fn is_whiteout(item: &Item) -> bool {
    item.kind == FileType::CharacterDevice && item.stat.rdev == 0
}

/// Whether a directory hides what is below it.
pub(crate) fn is_opaque(layer: &Root, path: &Path) -> bool {
    matches!(layer.xattr(path, OsStr::new(OPAQUE)), Ok(Some(value)) if value == b"y")
}

/// Takes away what is below at a path.
pub(crate) fn mark(upper: &Root, path: &Path) -> Result<(), files::Error> {
    let made = upper.mknod(path, FileType::CharacterDevice, 0, 0);
    made.map_err(files::io("make whiteout", path))
}

/// Makes room for a directory. It hides what is below where the layer says so, and where it takes the place of something
/// that was there or was taken away.
fn directory(layer: &Root, upper: &Root, item: &Item) -> Result<(), files::Error> {
    let path = &item.path;
    let opaque = is_opaque(layer, path);
    let before = upper.lstat(path).ok().map(|s| FileType::from_raw_mode(s.st_mode));
    let replaces = before.is_some_and(|kind| kind != FileType::Directory);
    if opaque || replaces {
        upper.remove_all(path).map_err(files::io("replace", path))?;
    }
    if opaque || replaces || before.is_none() {
        upper.mkdir(path, 0o755).map_err(files::io("make", path))?;
    }
    if opaque || replaces {
        upper.set_xattr(path, OsStr::new(OPAQUE), b"y").map_err(files::io("mark", path))?;
    }
    Ok(())
}

/// The history of a squashed image: the steps stay, the one layer belongs to a line of its own.
pub(crate) fn history(lines: &mut Vec<History>, base_lines: usize) {
    let count = lines[base_lines..].iter().filter(|l| !l.empty_layer).count();
    let created = lines.last().and_then(|l| l.created.clone());
    lines[base_lines..].iter_mut().for_each(|l| l.empty_layer = true);
    lines.push(History { created, comment: format!("merge {count} layers"), ..History::default() });
}
