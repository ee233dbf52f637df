//! Writing what a `COPY` selected into a file system, as BuildKit does it.
//!
//! * A directory's content is merged into the destination. The top directory is the destination's own: one that exists stays
//!   as it is, a new one is made as those on the way to it, whatever the source's is: it belongs to root (or `--chown`) with
//!   mode 0755 (or an octal `--chmod`). Clients may also copy the directory itself: then a new one is as the source.
//! * A file replaces whatever has its name, but a directory. A link at the very destination is followed inside the root.
//! * Files of a context belong to root unless `--chown` says otherwise; files of a stage keep their owner.
//! * A socket of a context becomes an empty file, as BuildKit's clients send it; one of a stage is left out, for no layer can
//!   hold it.
//! * Times, set-id bits, extended attributes and hard links within one source are kept.

use super::index::Stamp;
use super::select::Match;
use super::walk::{Item, Status, Tree};
use super::{Error, io, real};
use crate::mode::Change;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// The destination and what is done to everything that arrives there.
pub struct Writer<'a> {
    /// The file system being written.
    pub root: &'a Root,
    /// `--chown`.
    pub owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub mode: Option<Change>,
    /// What is in the way of a file or a directory goes, be it a directory.
    pub replaces: bool,
    /// Directories are copied themselves, and not their content alone.
    pub whole: bool,
    /// The time that all gets that arrives, and no other.
    pub time: Option<Timespec>,
    /// A source changed while it was copied: the result must not be remembered.
    pub unsteady: bool,
}

/// A regular file with one name, to be copied.
pub(super) struct Plain<'i> {
    pub item: &'i Item,
    pub target: PathBuf,
    pub meta: Meta,
}

/// Mode and owner and time that a new entry gets.
#[derive(Clone, Copy)]
pub(super) struct Meta {
    mode: u32,
    owner: (u32, u32),
    times: Option<(Timespec, Timespec)>,
}

impl<'a> Writer<'a> {
    /// One that changes neither owner nor mode.
    pub fn plain(root: &'a Root) -> Writer<'a> {
        Writer { root, owner: None, mode: None, replaces: false, whole: false, time: None, unsteady: false }
    }

    /// The real path of a destination; links in it are resolved inside the root.
    pub fn resolve(&self, dest: &str) -> Result<PathBuf, Error> {
        real::path(self.root, Path::new(dest))
    }

    /// Copies one match to `dest`; with a slash at the end it is a directory.
    pub fn copy(&mut self, tree: &Tree<'_>, found: &Match, dest: &str) -> Result<(), Error> {
        let to = self.resolve(dest)?;
        if found.is_dir {
            let created = self.make_dirs(&to)?;
            self.copy_items(tree, &found.items, &to, created && self.whole)?;
            return if created && !self.whole { self.date(&to, &found.items[0]) } else { Ok(()) };
        }
        let to = self.file_target(&to, &found.name, dest.ends_with('/'))?;
        self.copy_items(tree, &found.items, &to, true)
    }

    /// Gives a top directory that was made the source's time.
    fn date(&self, to: &Path, source: &Item) -> Result<(), Error> {
        if self.time.is_some() {
            return Ok(());
        }
        let times = times_of_modification((source.stat.modified.0, source.stat.modified.1.into()));
        self.root.utimes(to, &times).map_err(io("set times of", to))
    }

    /// As [`Writer::copy`], into a directory that is there, keeping the source's directories (from the `/./` in it on).
    pub fn copy_parents(
        &mut self,
        tree: &Tree<'_>,
        found: &Match,
        skip: usize,
        dest: &str,
    ) -> Result<(), Error> {
        let mut at = self.resolve(dest)?;
        let mut source = PathBuf::new();
        let components: Vec<_> = found.path.components().collect();
        let last = components.len().saturating_sub(1);
        for (i, component) in components.iter().enumerate() {
            source.push(component);
            if i < skip {
                continue;
            }
            at.push(component);
            if i < last && self.make_dir(&at)? {
                let real = real::path(tree.root, &source)?;
                let stat = tree.status(&real)?;
                let meta = self.meta(tree, FileType::Directory, &(&stat).into());
                self.apply(&at, &meta)?;
            }
        }
        if found.is_dir {
            let created = self.make_dirs(&at)?;
            return self.copy_items(tree, &found.items, &at, created);
        }
        self.copy_items(tree, &found.items, &at, true)
    }

    /// Where a file goes: into a directory under its own name, or to the very path. Of several that go to one path the last
    /// counts, as with BuildKit.
    pub fn file_target(&self, to: &Path, name: &OsStr, slash: bool) -> Result<PathBuf, Error> {
        let is_dir = match self.root.lstat(to) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(e) => return Err(io("stat", to)(e)),
        };
        match is_dir {
            Some(true) => Ok(to.join(name)),
            _ if slash => {
                self.make_dirs(to)?;
                Ok(to.join(name))
            }
            _ => {
                self.make_dirs(to.parent().unwrap_or(Path::new("")))?;
                Ok(to.to_path_buf())
            }
        }
    }

    /// Makes a directory and its parents (a path without links); whether the last one is new.
    pub fn make_dirs(&self, path: &Path) -> Result<bool, Error> {
        let mut at = PathBuf::new();
        let mut created = false;
        for component in path.components() {
            at.push(component);
            created = self.make_dir(&at)?;
        }
        Ok(created)
    }

    fn make_dir(&self, path: &Path) -> Result<bool, Error> {
        let made = match self.root.mkdir(path, 0o755) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && self.replaces && !self.is_dir(path)? => {
                self.clear(path)?;
                self.root.mkdir(path, 0o755)
            }
            made => made,
        };
        match made {
            Ok(()) => {
                let (mode, owner) =
                    (Change::of_new_directory(self.mode.as_ref()), self.owner.unwrap_or((0, 0)));
                self.apply(path, &Meta { mode, owner, times: self.times() })?;
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                if self.is_dir(path)? {
                    return Ok(false);
                }
                let message = format!("cannot copy to non-directory: /{}", path.display());
                Err(Error::Conflict { message })
            }
            Err(e) => Err(io("make directory", path)(e)),
        }
    }

    fn is_dir(&self, path: &Path) -> Result<bool, Error> {
        let stat = self.root.lstat(path).map_err(io("stat", path))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Writes a new file with this content.
    pub fn write(
        &mut self,
        to: &Path,
        mut content: impl std::io::Read,
        mode: u32,
        time: Option<i64>,
    ) -> Result<(), Error> {
        let mut file = self.create(to)?;
        std::io::copy(&mut content, &mut file).map_err(io("write", to))?;
        let time = time.map(|seconds| Timespec { tv_sec: seconds, tv_nsec: 0 });
        let mode = self.mode.as_ref().map_or(mode, |m| m.apply(mode, false));
        let owner = self.owner.unwrap_or((0, 0));
        let meta = Meta { mode, owner, times: time.map(|t| (t, t)) };
        set(&file, &meta).map_err(|e| io("set owner, mode and times of", to)(e.into()))
    }

    /// Copies entries to the very places that they have in the tree.
    pub fn copy_exact(&mut self, tree: &Tree<'_>, items: &[Item]) -> Result<(), Error> {
        self.copy_items(tree, items, Path::new(""), false)
    }

    fn copy_items(
        &mut self,
        tree: &Tree<'_>,
        items: &[Item],
        to: &Path,
        top_is_new: bool,
    ) -> Result<(), Error> {
        let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let mut directories: Vec<(&Item, PathBuf, Meta)> = Vec::new();
        let mut plain = Vec::new();
        let mut made: Option<PathBuf> = None;
        for (i, item) in items.iter().enumerate() {
            if i % 64 == 0 && (tree.cancelled)() {
                return Err(Error::Cancelled);
            }
            let target = if item.is_start() { to.into() } else { to.join(item.relative()) };
            let meta = self.meta(tree, item.kind, &item.stat);
            match item.kind {
                FileType::Directory => {
                    let is_new = self.make_dirs(&target)?;
                    if if item.is_start() { top_is_new } else { is_new || !item.is_way } {
                        directories.push((item, target, meta));
                    }
                }
                FileType::Socket if !tree.is_context => {}
                _ => {
                    // Files were selected without some of their directories where --exclude took those out.
                    let parent = target.parent().unwrap_or(Path::new(""));
                    if made.as_deref() != Some(parent) {
                        self.make_dirs(parent)?;
                        made = Some(parent.to_path_buf());
                    }
                    if item.kind == FileType::RegularFile && item.stat.links == 1 {
                        plain.push(Plain { item, target, meta });
                    } else {
                        self.copy_one(tree, item, &target, &meta, &mut links)?;
                    }
                }
            }
        }
        self.unsteady |= !super::bulk::copy(self, tree, &plain)?;
        // Deepest first, and after their content: writing into a directory moves its time.
        for (item, path, meta) in directories.iter().rev() {
            self.apply(path, meta)?;
            copy_xattrs(tree, &item.path, self.root, path);
        }
        Ok(())
    }

    fn copy_one(
        &mut self,
        tree: &Tree<'_>,
        item: &Item,
        target: &Path,
        meta: &Meta,
        links: &mut HashMap<(u64, u64), PathBuf>,
    ) -> Result<(), Error> {
        let inode = (item.stat.dev, item.stat.ino);
        let is_linked = item.stat.links > 1 && item.kind == FileType::RegularFile;
        if is_linked && let Some(first) = links.get(&inode) {
            self.clear(target)?;
            return self.root.hardlink(first, target).map_err(io("link", target));
        }
        if item.kind == FileType::RegularFile {
            self.copy_content(tree, item, target, meta)?;
            copy_xattrs(tree, &item.path, self.root, target);
            if is_linked {
                links.insert(inode, target.to_path_buf());
            }
            return Ok(());
        }
        if item.kind == FileType::Socket {
            let file = self.create(target)?;
            return set(&file, meta).map_err(|e| io("set owner, mode and times of", target)(e.into()));
        }
        self.clear(target)?;
        match item.kind {
            FileType::Symlink => {
                let says = item.target.as_deref().unwrap_or(Path::new(""));
                self.root.symlink(says, target).map_err(io("make link", target))?;
            }
            kind => {
                let made = self.root.mknod(target, kind, 0o600, item.stat.rdev);
                made.map_err(io("make node", target))?;
            }
        }
        self.apply_to(target, meta, item.kind)
    }

    /// A new file, whatever had its name before.
    pub(super) fn create(&self, target: &Path) -> Result<File, Error> {
        match self.root.create_file(target, 0o600) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                self.clear(target)?;
                self.root.create_file(target, 0o600).map_err(io("create", target))
            }
            other => other.map_err(io("create", target)),
        }
    }

    fn copy_content(
        &mut self,
        tree: &Tree<'_>,
        item: &Item,
        target: &Path,
        meta: &Meta,
    ) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = tree.root.open_with(&item.path, flags, Mode::empty());
        let mut from = opened.map(File::from).map_err(io("open", &item.path))?;
        let mut into = self.create(target)?;
        // Sharing the blocks costs nothing where the file system can do it; else the kernel copies.
        if rustix::fs::ioctl_ficlone(&into, &from).is_err() {
            super::sparse::copy(&mut from, &mut into).map_err(io("copy", &item.path))?;
        }
        let now = rustix::fs::fstat(&from).map_err(|e| io("stat", &item.path)(e.into()))?;
        if Stamp::from(&now) != Stamp::of(&item.stat) {
            self.unsteady = true;
        }
        set(&into, meta).map_err(|e| io("set owner, mode and times of", target)(e.into()))
    }

    /// Makes room for a new entry.
    fn clear(&self, target: &Path) -> Result<(), Error> {
        match self.root.unlink(target) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) if e.kind() == ErrorKind::IsADirectory && self.replaces => {
                self.root.remove_all(target).map_err(io("replace", target))
            }
            Err(e) if e.kind() == ErrorKind::IsADirectory => Err(Error::Conflict {
                message: format!("cannot replace directory /{} with a file", target.display()),
            }),
            Err(e) => Err(io("replace", target)(e)),
        }
    }

    fn meta(&self, tree: &Tree<'_>, kind: FileType, stat: &Status) -> Meta {
        let own = if tree.is_context { (0, 0) } else { (stat.uid, stat.gid) };
        let mode = stat.mode & 0o7777;
        let mode = match &self.mode {
            Some(change) => change.apply(mode, kind == FileType::Directory),
            None => mode,
        };
        Meta { mode, owner: self.owner.unwrap_or(own), times: self.times().or_else(|| Some(times_of(stat))) }
    }

    /// The times of all that arrives, where there is one for all.
    fn times(&self) -> Option<(Timespec, Timespec)> {
        self.time.map(|time| (time, time))
    }

    fn apply(&self, path: &Path, meta: &Meta) -> Result<(), Error> {
        self.apply_to(path, meta, FileType::Directory)
    }

    /// Owner first: giving a file away takes its set-id bits.
    fn apply_to(&self, path: &Path, meta: &Meta, kind: FileType) -> Result<(), Error> {
        let (uid, gid) = meta.owner;
        self.root.chown(path, uid, gid).map_err(io("change owner of", path))?;
        if kind != FileType::Symlink {
            self.root.chmod(path, meta.mode).map_err(io("change mode of", path))?;
        }
        if let Some((last_access, last_modification)) = meta.times {
            let times = Timestamps { last_access, last_modification };
            self.root.utimes(path, &times).map_err(io("set times of", path))?;
        }
        Ok(())
    }
}

/// Sets what a regular file gets; owner first: giving a file away takes its set-id bits.
pub(super) fn set(file: &File, meta: &Meta) -> rustix::io::Result<()> {
    let (uid, gid) = meta.owner;
    rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
    match meta.times {
        Some((last_access, last_modification)) => {
            rustix::fs::futimens(file, &Timestamps { last_access, last_modification })
        }
        None => Ok(()),
    }
}

/// The modification time; the access time is nobody's business.
fn times_of(stat: &Status) -> (Timespec, Timespec) {
    let times = times_of_modification((stat.modified.0, stat.modified.1.into()));
    (times.last_access, times.last_modification)
}

/// To set this modification time, in seconds and nanoseconds, and no other.
pub(super) fn times_of_modification((seconds, nanos): (i64, i64)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos as _ },
    }
}

/// Whether a copy carries an attribute over: capabilities and the user's.
pub fn carries_attribute(name: &OsStr) -> bool {
    name.as_bytes() == b"security.capability" || name.as_bytes().starts_with(b"user.")
}

/// The attributes that a copy carries over.
pub(crate) fn carried_xattrs(root: &Root, path: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut names = root.xattr_names(path).unwrap_or_default();
    names.retain(|name| carries_attribute(name));
    names.sort();
    let value = |name: OsString| Some((root.xattr(path, &name).ok()??, name));
    names.into_iter().filter_map(value).map(|(value, name)| (name, value)).collect()
}

/// Copies capabilities and user attributes. What the destination refuses is left out, as BuildKit does.
pub(super) fn copy_xattrs(tree: &Tree<'_>, from: &Path, root: &Root, to: &Path) {
    for (name, value) in carried_xattrs(tree.root, from) {
        let _ = root.set_xattr(to, &name, &value);
    }
}

/// Sets the time of every entry below `dir` that is newer than `seconds` to that.
pub fn clamp_times(dir: &Path, seconds: i64) -> Result<(), Error> {
    let root = Root::open(dir).map_err(io("open", dir))?;
    let tree = Tree { root: &root, ignore: None, is_context: false, cancelled: &|| false };
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: limit, last_modification: limit };
    for item in tree.walk(Path::new(""))?.iter().rev() {
        let newer = item.stat.modified > (seconds, 0);
        if !newer {
            continue;
        }
        if item.path.as_os_str().is_empty() {
            let done = rustix::fs::utimensat(CWD, dir, &times, AtFlags::empty());
            done.map_err(|e| io("set times of", dir)(e.into()))?;
        } else {
            root.utimes(&item.path, &times).map_err(io("set times of", &item.path))?;
        }
    }
    Ok(())
}
