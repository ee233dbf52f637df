//! Layers as EROFS images (Linux 5.4; mounted from a file without a block device since 6.12), written straight from the archive.
//!
//! [`unpack_image`] reads the archive once. Contents of files go to the image as they arrive, in one sequential write, where
//! [`crate::unpack`] makes a file for each; names and inodes are kept in mind and follow them when all is known. The tree is
//! the one that [`crate::unpack`] makes of the same archive with [`crate::Options::layer`], entry by entry: what is refused
//! there is refused here, and nothing here touches a path of the machine at all.
//!
//! The same archive gives the same bytes. Times of directories that no entry speaks about are 1970.

mod attributes;
mod blocks;
mod image;
mod tree;

use crate::unpack::normal;
use crate::whiteout::{self, OPAQUE_VALUE, OPAQUE_XATTR, OVERLAY_XATTRS};
use crate::{Entry, Error, Kind, Limits, Reader, Stats, Time};
use blocks::Blocks;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::root::Root;
use sys::space::Room;
use tree::{Body, Id, Node, ROOT, Tree};

/// Bytes of small files that are kept in mind until their inodes are written; further ones get blocks of their own.
const SMALL_ALL: u64 = 32 << 20;
/// About what setting something on a directory at the end costs in memory beside its path.
const LATE_COST: u64 = 128;
/// All that is kept in mind may be so many times what [`Limits::memory`] says for names of directories.
const MEMORY_FACTOR: u64 = 8;

/// Writes the layer of an archive (not compressed), whose end mark is read and no more, to an empty file.
pub fn unpack_image(source: &mut impl BufRead, file: File, limits: Limits) -> Result<Draft, Error> {
    let mut reader = Reader::new(source);
    let mut builder = Builder::new(file, limits);
    while let Some(entry) = reader.next_entry()? {
        builder.place(&entry, &mut reader)?;
    }
    builder.finish()
}

/// An image whose contents are written, and whose inodes are not yet: the layers below may have something to say.
pub struct Draft {
    tree: Tree,
    blocks: Blocks,
    /// What was unpacked.
    pub stats: Stats,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Draft {
    /// What [`crate::settle`] does to a directory.
    pub fn settle(&mut self, lower: &[Root]) -> Result<(), Error> {
        if self.stats.unsettled.opaque_root {
            return self.white_out_root(lower).map_err(Error::entry("apply the whiteout", whiteout::OPAQUE));
        }
        for path in &self.stats.unsettled.implied {
            let Some(below) = lower.iter().find_map(|root| root.lstat(path).ok()) else { continue };
            if FileType::from_raw_mode(below.st_mode) == FileType::Directory
                && let Ok(id) = self.tree.resolve(path, false)
                && self.tree.node(id).is_directory()
            {
                like(self.tree.node_mut(id), &below);
            }
        }
        Ok(())
    }

    fn white_out_root(&mut self, lower: &[Root]) -> io::Result<()> {
        for below in lower {
            for entry in below.read_dir("")? {
                match self.tree.add(ROOT, entry.name.as_bytes(), Node::whiteout()) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    /// Writes what is missing. The image is known to the kernel by these bytes.
    pub fn finish(self, uuid: [u8; 16]) -> Result<File, Error> {
        image::write(&self.tree, self.blocks, uuid).map_err(Error::Write)
    }
}

fn like(node: &mut Node, stat: &Stat) {
    node.mode = stat.st_mode & 0o7777;
    (node.uid, node.gid) = (stat.st_uid, stat.st_gid);
    node.mtime = Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 };
}

/// What is set on a directory when all is there.
struct Late {
    mtime: Time,
    lists: Vec<(OsString, Vec<u8>)>,
}

struct Builder {
    tree: Tree,
    blocks: Blocks,
    limits: Limits,
    late: BTreeMap<PathBuf, Late>,
    /// Where the last entry went: most are in the same directory.
    parent: Option<(PathBuf, Id)>,
    /// Bytes of small files that are in mind.
    small: u64,
    /// Bytes of what is not in the tree.
    memory: u64,
    room: Option<Room>,
    /// Whether there is something that goes at the end, see [`whiteout::ASIDE`].
    aside: bool,
    stats: Stats,
}

impl Builder {
    fn new(file: File, limits: Limits) -> Builder {
        Builder {
            tree: Tree::new(),
            room: Room::on(&file).ok(),
            blocks: Blocks::new(file),
            limits,
            late: BTreeMap::new(),
            parent: None,
            small: 0,
            memory: 0,
            aside: false,
            stats: Stats::default(),
        }
    }

    fn count(&mut self, entry: &Entry) -> Result<(), Error> {
        self.stats.entries += 1;
        if self.stats.entries > self.limits.entries {
            return Err(Error::TooLarge { limit: self.limits.entries, unit: "entries" });
        }
        self.stats.bytes = self.stats.bytes.saturating_add(entry.size);
        if self.stats.bytes > self.limits.bytes {
            return Err(Error::TooLarge { limit: self.limits.bytes, unit: "bytes" });
        }
        match self.room.as_mut().map(Room::take_name) {
            Some(Err(error)) => Err(Error::entry("make", &entry.path)(error)),
            _ => Ok(()),
        }
    }

    /// Whether all that is kept in mind is within limits.
    fn remember(&mut self) -> io::Result<()> {
        let limit = self.limits.memory.saturating_mul(MEMORY_FACTOR);
        if self.memory + self.tree.cost() > limit {
            let text = format!("more than {limit} bytes of names and attributes");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        Ok(())
    }

    /// Places the reader's current entry.
    fn place<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), Error> {
        self.put(entry, reader)?;
        self.remember().map_err(Error::entry("remember", &entry.path))
    }

    fn put<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), Error> {
        self.count(entry)?;
        let path = normal(&entry.path).ok_or_else(|| Error::refused(&entry.path, "leads out of the root"))?;
        let Some(name) = path.file_name() else { return self.place_root(entry) };
        let directory = path.parent().unwrap_or(Path::new(""));
        match whiteout::meaning(&path)? {
            whiteout::Meaning::Itself => {}
            whiteout::Meaning::Aside if entry.kind == Kind::File => self.make_aside(entry)?,
            whiteout::Meaning::Aside | whiteout::Meaning::Nothing => return Ok(()),
            whiteout::Meaning::Opaque => return self.make_opaque(directory, entry),
            whiteout::Meaning::Gone(gone) => return self.white_out(directory, gone, entry),
        }
        self.parent(directory).map_err(Error::entry("make the directory of", &entry.path))?;
        let Some(id) = self.make(directory, name, entry)? else { return Ok(()) };
        self.fill(id, &path, entry, reader)
    }

    /// Sets what the entry says about an object, and writes its content.
    fn fill<R: BufRead>(
        &mut self,
        id: Id,
        path: &Path,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), Error> {
        if entry.kind == Kind::File {
            let body = self.content(entry, reader)?;
            self.tree.node_mut(id).body = body;
        }
        self.describe(id, entry)?;
        if entry.kind == Kind::Directory {
            self.stats.unsettled.implied.remove(path);
            self.later(path, entry);
        } else {
            self.tree.node_mut(id).mtime = entry.mtime;
        }
        Ok(())
    }

    /// Owner, mode and attributes; access lists of directories come last.
    fn describe(&mut self, id: Id, entry: &Entry) -> Result<(), Error> {
        let node = self.tree.node_mut(id);
        // The reader has refused ids that don't fit.
        (node.uid, node.gid) = (entry.uid as u32, entry.gid as u32);
        if entry.kind != Kind::Symlink {
            node.mode = entry.mode & 0o7777;
        }
        for (name, value) in kept(entry).filter(|(name, _)| entry.kind != Kind::Directory || !is_list(name)) {
            let taken = self.tree.change(id, |node| attributes::set(node, name, value));
            let taken = taken.map_err(Error::entry("set attributes of", &entry.path))?;
            self.stats.xattrs_skipped += u64::from(!taken);
        }
        Ok(())
    }

    /// Sets a directory's time and access lists at the end.
    fn later(&mut self, path: &Path, entry: &Entry) {
        let late = Late {
            mtime: entry.mtime,
            lists: kept(entry).filter(|(name, _)| is_list(name)).cloned().collect(),
        };
        let cost = |late: &Late| -> u64 {
            let lists: usize = late.lists.iter().map(|(name, value)| name.len() + value.len()).sum();
            (path.as_os_str().len() + lists) as u64 + LATE_COST
        };
        self.memory += cost(&late);
        if let Some(earlier) = self.late.insert(path.to_path_buf(), late) {
            self.memory -= cost(&earlier);
        }
    }

    fn place_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(Error::refused(&entry.path, "would replace the root"));
        }
        self.describe(ROOT, entry)?;
        self.later(Path::new(""), entry);
        Ok(())
    }

    /// Makes the object, replacing what is in its place; none if it is a second name of what has one already.
    fn make(&mut self, directory: &Path, name: &OsStr, entry: &Entry) -> Result<Option<Id>, Error> {
        let target = match entry.kind {
            Kind::HardLink => Some(
                normal(&entry.link)
                    .ok_or_else(|| Error::refused(&entry.path, "links to what is outside of the root"))?,
            ),
            _ => None,
        };
        // Again after what was there is removed, which the directory may have been reached through.
        for _ in 0..16 {
            let parent =
                self.parent(directory).map_err(Error::entry("open the directory of", &entry.path))?;
            let attempt = match &target {
                Some(target) => self.make_link(target, parent, name).map(|()| None),
                None => self.make_object(parent, name, entry).map(Some),
            };
            match attempt {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && target.is_some() => {
                    let problem = format!("links to {:?}, which is not there", entry.link);
                    return Err(Error::refused(&entry.path, problem));
                }
                other => return other.map_err(Error::entry("make", &entry.path)),
            }
            if let Some(id) = self.displace(parent, directory, name, entry)? {
                return Ok(Some(id));
            }
        }
        Err(Error::refused(&entry.path, "somebody keeps making it"))
    }

    fn make_object(&mut self, parent: Id, name: &OsStr, entry: &Entry) -> io::Result<Id> {
        let device = || {
            let device = rustix::fs::makedev(entry.device.0, entry.device.1);
            u32::try_from(device).map_err(|_| io::Error::from(Errno::INVAL))
        };
        let body = match entry.kind {
            // Its content comes later.
            Kind::File => Body::Small(Box::default()),
            Kind::Directory => Node::directory(parent, 0).body,
            Kind::Symlink => {
                let target = entry.link.as_os_str().as_bytes();
                match target.len() {
                    0 => return Err(Errno::NOENT.into()),
                    4096.. => return Err(Errno::NAMETOOLONG.into()),
                    _ => Body::Link(target.into()),
                }
            }
            Kind::Char => Body::Char(device()?),
            Kind::Block => Body::Block(device()?),
            Kind::Fifo => Body::Fifo,
            Kind::HardLink => return Err(Errno::INVAL.into()),
        };
        let mode = if entry.kind == Kind::Symlink { 0o777 } else { entry.mode & 0o7777 };
        self.tree.add(parent, name.as_bytes(), Node::new(body, mode))
    }

    /// Makes a second name for `target`; a link at its end is not followed. That the name exists and means the same object
    /// already is fine.
    fn make_link(&mut self, target: &Path, parent: Id, name: &OsStr) -> io::Result<()> {
        let (directory, old) = self.tree.slot(target)?;
        let id = self.tree.child(directory, old).ok_or(Errno::NOENT)?;
        match self.tree.child(parent, name.as_bytes()) {
            Some(existing) if existing == id => Ok(()),
            Some(_) => Err(Errno::EXIST.into()),
            None if self.tree.node(id).is_directory() => Err(Errno::PERM.into()),
            None => self.tree.link(parent, name.as_bytes(), id),
        }
    }

    /// Removes what stands where the entry goes; gives it back if it is a directory and stays one.
    fn displace(
        &mut self,
        parent: Id,
        directory: &Path,
        name: &OsStr,
        entry: &Entry,
    ) -> Result<Option<Id>, Error> {
        let Some(existing) = self.tree.child(parent, name.as_bytes()) else { return Ok(None) };
        let is_directory = entry.kind == Kind::Directory;
        if is_directory && self.tree.node(existing).is_directory() {
            return Ok(Some(existing));
        }
        let was_whiteout = self.tree.node(existing).is_whiteout();
        self.remove(parent, name.as_bytes());
        if !(is_directory && was_whiteout) {
            return Ok(None);
        }
        // What the mark said is still true of the layers below.
        let parent = self.parent(directory).map_err(Error::entry("open the directory of", &entry.path))?;
        let made = self.make_object(parent, name, entry).map_err(Error::entry("make", &entry.path))?;
        self.set_opaque(made).map_err(Error::entry("make opaque", &entry.path))?;
        Ok(Some(made))
    }

    fn remove(&mut self, parent: Id, name: &[u8]) {
        self.parent = None;
        let (blocks, small) = (&mut self.blocks, &mut self.small);
        self.tree.remove(parent, name, |node| match node.body {
            Body::File { size, start } => blocks.lose(start, size),
            Body::Small(content) => *small -= content.len() as u64,
            _ => {}
        });
    }

    fn make_aside(&mut self, entry: &Entry) -> Result<(), Error> {
        if !self.aside {
            let made = self.tree.add(ROOT, whiteout::ASIDE.as_bytes(), Node::directory(ROOT, 0o700));
            made.map_err(Error::entry("make the directory of", &entry.path))?;
            self.aside = true;
        }
        Ok(())
    }

    fn make_opaque(&mut self, directory: &Path, entry: &Entry) -> Result<(), Error> {
        if directory.as_os_str().is_empty() {
            self.stats.unsettled.opaque_root = true;
            return Ok(());
        }
        let id = self.parent(directory).map_err(Error::entry("make the directory of", &entry.path))?;
        self.set_opaque(id).map_err(Error::entry("apply the whiteout", &entry.path))
    }

    fn set_opaque(&mut self, directory: Id) -> io::Result<()> {
        let set = |node: &mut Node| attributes::set(node, OsStr::new(OPAQUE_XATTR), OPAQUE_VALUE);
        self.tree.change(directory, set).map(drop)
    }

    /// Makes the mark of a name that is gone. Where this layer has the name itself, that hides what is below: a directory has
    /// to be opaque for it.
    fn white_out(&mut self, directory: &Path, gone: &OsStr, entry: &Entry) -> Result<(), Error> {
        let parent = self.parent(directory).map_err(Error::entry("make the directory of", &entry.path))?;
        let made = match self.tree.child(parent, gone.as_bytes()) {
            Some(id) if self.tree.node(id).is_directory() => self.set_opaque(id),
            Some(_) => Ok(()),
            None => self.tree.add(parent, gone.as_bytes(), Node::whiteout()).map(drop),
        };
        made.map_err(Error::entry("apply the whiteout", &entry.path))
    }

    /// The directory of an entry, made if it is missing.
    fn parent(&mut self, directory: &Path) -> io::Result<Id> {
        if let Some((path, id)) = &self.parent
            && path == directory
        {
            return Ok(*id);
        }
        let id = match self.tree.directory(directory) {
            Err(error) if is_absent(&error) => {
                self.make_parents(directory)?;
                self.tree.directory(directory)?
            }
            other => other?,
        };
        self.parent = Some((directory.to_path_buf(), id));
        Ok(id)
    }

    /// Makes the missing ones of a directory and the directories above it.
    fn make_parents(&mut self, directory: &Path) -> io::Result<()> {
        let mut prefix = PathBuf::new();
        for component in directory.iter() {
            prefix.push(component);
            match self.tree.directory(&prefix) {
                Ok(_) => continue,
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
            let (parent, name) = self.tree.slot(&prefix)?;
            let existing = self.tree.child(parent, name);
            let gone = existing.is_some_and(|id| self.tree.node(id).is_whiteout());
            if gone {
                self.remove(parent, name);
            }
            let made = self.tree.add(parent, name, Node::directory(parent, 0o755))?;
            if gone {
                self.set_opaque(made)?;
            } else {
                self.memory += prefix.as_os_str().len() as u64 + LATE_COST;
                self.remember()?;
                self.stats.unsettled.implied.insert(prefix.clone());
            }
        }
        Ok(())
    }

    /// The content of a file: in mind if it is small, else in blocks of its own.
    fn content<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<Body, Error> {
        let failed = || Error::entry("write", &entry.path);
        if let Some(segments) = &entry.sparse {
            return self.sparse(entry, segments, reader);
        }
        if entry.size <= image::SMALL && self.small + entry.size <= SMALL_ALL {
            let mut content = Vec::with_capacity(entry.size as usize);
            reader.copy_data(u64::MAX, |piece| {
                content.extend_from_slice(piece);
                Ok(())
            })?;
            self.small += content.len() as u64;
            return Ok(Body::Small(content.into()));
        }
        let (blocks, room) = (&mut self.blocks, &mut self.room);
        let start = blocks.align().map_err(failed())?;
        reader.copy_data(u64::MAX, |piece| {
            room.as_mut().map_or(Ok(()), |room| room.take(piece.len() as u64)).map_err(failed())?;
            blocks.write(piece).map_err(failed())
        })?;
        blocks.align().map_err(failed())?;
        Ok(Body::File { size: entry.size, start })
    }

    fn sparse<R: BufRead>(
        &mut self,
        entry: &Entry,
        segments: &[crate::Segment],
        reader: &mut Reader<R>,
    ) -> Result<Body, Error> {
        let failed = || Error::entry("write", &entry.path);
        let (blocks, room) = (&mut self.blocks, &mut self.room);
        let start = blocks.align().map_err(failed())?;
        let mut at = 0;
        for segment in segments {
            blocks.skip(segment.offset - at).map_err(failed())?;
            reader.copy_data(segment.length, |piece| {
                room.as_mut().map_or(Ok(()), |room| room.take(piece.len() as u64)).map_err(failed())?;
                blocks.write(piece).map_err(failed())
            })?;
            at = segment.offset + segment.length;
        }
        blocks.skip(entry.size - at).map_err(failed())?;
        blocks.align().map_err(failed())?;
        Ok(Body::File { size: entry.size, start })
    }

    /// Sets what is set last: times and access lists of directories.
    fn finish(mut self) -> Result<Draft, Error> {
        if self.aside {
            self.remove(ROOT, whiteout::ASIDE.as_bytes());
        }
        for (path, late) in &self.late {
            // A later entry may have replaced it.
            let Ok(id) = self.tree.resolve(path, false) else { continue };
            if !self.tree.node(id).is_directory() {
                continue;
            }
            for (name, value) in &late.lists {
                let taken = self.tree.change(id, |node| attributes::set(node, name, value));
                let taken = taken.map_err(Error::entry("set attributes of", path))?;
                self.stats.xattrs_skipped += u64::from(!taken);
            }
            self.tree.node_mut(id).mtime = late.mtime;
        }
        Ok(Draft { tree: self.tree, blocks: self.blocks, stats: self.stats })
    }
}

/// The attributes of an entry that an archive may bring.
fn kept(entry: &Entry) -> impl Iterator<Item = &(OsString, Vec<u8>)> {
    entry.xattrs.iter().filter(|(name, _)| !name.as_bytes().starts_with(OVERLAY_XATTRS.as_bytes()))
}

fn is_list(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"system.posix_acl_")
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
pub(crate) mod tests;
