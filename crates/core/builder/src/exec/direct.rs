//! Writing a layer's files where they will stay, without an overlay mount between.
//!
//! What a `COPY` adds is known beforehand, and in most cases also what of it meets something in the layers below: then the
//! directories that are there are made anew in the layer as overlayfs would have copied them, and files are created beside
//! them. In all other cases, errors among them, the caller takes the mount.

use crate::error::Error;
use crate::files::select::Match;
use crate::files::{self, io, real};
use crate::session::io_error;
use rustix::fs::{FileType, Stat, Timespec, Timestamps};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// Directories of the layers below that the new layer has too, by path, parents first.
pub(super) struct Below(BTreeMap<PathBuf, Stat>);

/// What is below these matches at this destination; none if the kernel has to merge them.
pub(super) fn plan<'m>(
    view: Option<&Root>,
    dest: &str,
    matches: impl Iterator<Item = &'m Match>,
) -> Result<Option<(PathBuf, Below)>, files::Error> {
    let mut below = Below(BTreeMap::new());
    let Some(view) = view else {
        let to = dest.split('/').filter(|part| !matches!(*part, "" | "."));
        return Ok((!dest.contains("..")).then(|| (to.collect(), below)));
    };
    let to = real::path(view, Path::new(dest))?;
    let mut at = PathBuf::new();
    for component in to.components() {
        at.push(component);
        match below.enter(view, &at)? {
            Found::Nothing => break,
            Found::Directory => {}
            // The destination itself may be a file to be replaced.
            Found::Other if at == to && !dest.ends_with('/') => {}
            Found::Other | Found::Special => return Ok(None),
        }
    }
    for found in matches {
        if !below.admits(view, &to, found)? {
            return Ok(None);
        }
    }
    Ok(Some((to, below)))
}

enum Found {
    Nothing,
    Directory,
    Other,
    /// A directory with attributes.
    Special,
}

impl Below {
    fn enter(&mut self, view: &Root, path: &Path) -> Result<Found, files::Error> {
        let stat = match view.lstat(path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Found::Nothing);
            }
            other => other.map_err(io("stat", path))?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Found::Other);
        }
        let names = view.xattr_names(path).map_err(io("read attributes of", path))?;
        if names.iter().any(|name| !name.as_bytes().starts_with(b"trusted.overlay.")) {
            return Ok(Found::Special);
        }
        self.0.insert(path.to_path_buf(), stat);
        Ok(Found::Directory)
    }

    /// Whether all of a match finds nothing below, or directories where it has directories, or files where it has files.
    fn admits(&mut self, view: &Root, to: &Path, found: &Match) -> Result<bool, files::Error> {
        let is_dir = |below: &Self, path: &Path| path.as_os_str().is_empty() || below.0.contains_key(path);
        if !found.is_dir {
            let target = if is_dir(self, to) { to.join(&found.name) } else { to.to_path_buf() };
            let parent = target.parent().unwrap_or(Path::new(""));
            return Ok(!is_dir(self, parent)
                || !matches!(self.enter(view, &target)?, Found::Directory | Found::Special));
        }
        for item in found.items.iter().filter(|item| !item.relative.as_os_str().is_empty()) {
            let target = to.join(&item.relative);
            if !is_dir(self, target.parent().unwrap_or(Path::new(""))) {
                continue;
            }
            let fits = match (self.enter(view, &target)?, item.kind == FileType::Directory) {
                (Found::Nothing, _) | (Found::Directory, true) | (Found::Other, false) => true,
                (Found::Special, _) | (Found::Directory, false) | (Found::Other, true) => false,
            };
            if !fits {
                return Ok(false);
            }
        }
        // A file where the source's directory shall be.
        Ok(is_dir(self, to) || view.lstat(to).is_err())
    }

    /// Makes the directories in the layer.
    pub fn make(&self, layer: &Root) -> Result<(), Error> {
        for (path, stat) in &self.0 {
            let made = layer.mkdir(path, 0o700);
            made.and_then(|()| layer.chown(path, stat.st_uid, stat.st_gid))
                .and_then(|()| layer.chmod(path, stat.st_mode & 0o7777))
                .map_err(io_error("make", path))?;
        }
        Ok(())
    }

    /// Gives directories that were only passed through the times that they have below.
    pub fn settle(&self, layer: &Root) -> Result<(), Error> {
        for (path, stat) in self.0.iter().rev() {
            let entries = layer.read_dir(path).map_err(io_error("list", path))?;
            if entries.iter().any(|entry| !self.0.contains_key(&path.join(&entry.name))) {
                continue;
            }
            let time = |tv_sec, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec as _ };
            let times = Timestamps {
                last_access: time(stat.st_atime, stat.st_atime_nsec),
                last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
            };
            layer.utimes(path, &times).map_err(io_error("set times of", path))?;
        }
        Ok(())
    }
}
