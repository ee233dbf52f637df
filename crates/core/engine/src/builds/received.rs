//! A directory that a client's files are written into, entry by entry, for a build to read.
//!
//! The client is not trusted: every path is resolved below the directory, a name is replaced and never followed, and sockets
//! are left out. Names are bytes, as the kernel has them. Of extended attributes those come along
//! that a copy of a build carries over.
//!
//! It lies below `<root>/ingest` and goes with its lease; or it is a [`builder::Mirror`] with the files of before, of which
//! those that are still the same need not come again ([`Received::has`]), and those that are gone go at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use builder::Mirror;
use rustix::fs::{Dev, FileType, Stat, Timespec, Timestamps, XattrFlags, makedev};
use store::Lease;
use sys::root::Root;

use crate::Engine;
use crate::containers::record::make_private_dir;
use crate::error::{Context as _, Error, Result};

/// The longest path.
const PATH_MAX: usize = 4096;
/// Files that are being received at a time.
const OPEN_MAX: usize = 256;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    /// A symbolic link and what it says.
    Symlink(OsString),
    /// Another name of an earlier file.
    Hardlink(OsString),
    /// A named pipe.
    Fifo,
    /// A device by its major and minor number.
    CharacterDevice((u32, u32)),
    /// See [`EntryKind::CharacterDevice`].
    BlockDevice((u32, u32)),
}

impl EntryKind {
    /// What the kernel makes by `mknod`, and of which device.
    fn node(&self) -> Option<(FileType, Dev)> {
        Some(match self {
            EntryKind::Fifo => (FileType::Fifo, 0),
            EntryKind::CharacterDevice((major, minor)) => {
                (FileType::CharacterDevice, makedev(*major, *minor))
            }
            EntryKind::BlockDevice((major, minor)) => (FileType::BlockDevice, makedev(*major, *minor)),
            _ => return None,
        })
    }
}

/// A file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the top of the directory.
    pub path: OsString,
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// Bytes of a file.
    pub size: u64,
    /// Extended attributes.
    pub attributes: Vec<(OsString, Vec<u8>)>,
}

/// A file that is being received.
struct Open {
    entry: Entry,
    file: File,
}

/// The directory. All but [`Received::new`] blocks.
pub struct Received {
    path: PathBuf,
    root: Root,
    /// Directories get their times and modes last: what is made in them would change both.
    directories: Vec<Entry>,
    /// Second names, which are made when all files are there.
    links: Vec<Entry>,
    /// Who makes files here without a word.
    own: (u32, u32),
    seen: BTreeSet<OsString>,
    open: BTreeMap<u32, Open>,
    entries: u64,
    /// What is kept in mind of them.
    names: u64,
    bytes: u64,
    lease: Lease,
    /// The directory holds files of before.
    mirror: Option<Mirror>,
    /// The directory that was looked into last: entries come one directory after the other.
    looked: Option<(OsString, Root)>,
}

impl Received {
    /// An empty directory.
    pub async fn new(engine: &Engine) -> Result<Self> {
        Self::make(engine, None).await
    }

    /// A directory that may hold what came last from what is called so.
    pub async fn again(engine: &Engine, called: String) -> Result<Self> {
        Self::make(engine, Some(called)).await
    }

    async fn make(engine: &Engine, called: Option<String>) -> Result<Self> {
        engine
            .blocking(move |engine| {
                let lease = engine.store().lease("build context")?;
                let mirror = called.map(|called| Mirror::open(engine.store().root(), &called));
                let mirror = mirror.transpose().during("open the files of before")?.flatten();
                let path = match &mirror {
                    Some(mirror) => mirror.path().to_owned(),
                    None => {
                        let path = lease.scratch();
                        make_private_dir(&path)?;
                        path
                    }
                };
                let root = Root::open(&path).during(format_args!("open {}", path.display()))?;
                Ok(Self {
                    path,
                    root,
                    directories: Vec::new(),
                    links: Vec::new(),
                    own: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
                    seen: BTreeSet::new(),
                    open: BTreeMap::new(),
                    entries: 0,
                    names: 0,
                    bytes: 0,
                    lease,
                    mirror,
                    looked: None,
                })
            })
            .await
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes of content came.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes an entry; a file comes with [`Received::open`] and what follows.
    pub fn add(&mut self, entry: &Entry) -> Result<()> {
        self.count(entry)?;
        if !is_plain(&entry.path) {
            return Err(Error::invalid(format!("{:?} is no path of a file in a build context", entry.path)));
        }
        let failed = || format!("write {} of the build context", entry.path.display());
        if !self.seen.insert(entry.path.clone()) {
            return Err(Error::invalid(format!("{:?} comes twice in the build context", entry.path)));
        }
        match &entry.kind {
            EntryKind::Directory => {
                self.directory(entry).during(failed())?;
                self.directories.push(entry.clone());
            }
            EntryKind::File => {}
            EntryKind::Symlink(target) => {
                if target.len() > PATH_MAX || target.as_bytes().contains(&0) {
                    return Err(Error::invalid(format!("{:?} is a link to what is no path", entry.path)));
                }
                if !self.has(entry) {
                    self.clear(&entry.path).during(failed())?;
                    self.root.symlink(target, &entry.path).during(failed())?;
                    self.describe(entry)?;
                }
            }
            EntryKind::Fifo | EntryKind::CharacterDevice(_) | EntryKind::BlockDevice(_) => {
                if let Some((kind, device)) = entry.kind.node().filter(|_| !self.has(entry)) {
                    self.clear(&entry.path).during(failed())?;
                    self.root.mknod(&entry.path, kind, 0o600, device).during(failed())?;
                    self.describe(entry)?;
                }
            }
            EntryKind::Hardlink(first) => {
                if !is_plain(first) || !self.seen.contains(first) {
                    return Err(Error::invalid(format!("{:?} is a link to no file", entry.path)));
                }
                self.links.push(entry.clone());
            }
        }
        Ok(())
    }

    /// Makes a directory unless there is one, which stays with what is in it.
    fn directory(&mut self, entry: &Entry) -> io::Result<()> {
        let known = self.before(&entry.path);
        match known.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            Some(stat) if stat.st_mode & 0o700 == 0o700 => Ok(()),
            Some(_) => self.root.chmod(&entry.path, 0o700),
            None => {
                self.clear(&entry.path)?;
                self.root.mkdir(&entry.path, 0o700)
            }
        }
    }

    /// What was there before under this path, if anything can have been.
    fn before(&mut self, path: &OsStr) -> Option<Stat> {
        self.mirror.as_ref()?;
        let path = Path::new(path);
        let (parent, name) = (path.parent()?.as_os_str(), path.file_name()?);
        if self.looked.as_ref().is_none_or(|(looked, _)| looked != parent) {
            self.looked = Some((parent.to_owned(), self.root.open_root(parent).ok()?));
        }
        let (_, directory) = self.looked.as_ref()?;
        directory.lstat(name).ok()
    }

    /// Whether a file or a link of before is the one that is told of, as far as kind, size, time, mode, owner and attributes say.
    pub fn has(&mut self, entry: &Entry) -> bool {
        let Some(stat) = self.before(&entry.path) else { return false };
        let is = |kind: FileType| FileType::from_raw_mode(stat.st_mode) == kind && is_described(&stat, entry);
        match &entry.kind {
            // One with several names is told from its others by what it is a link to, which is not known any more.
            EntryKind::File => {
                is(FileType::RegularFile)
                    && stat.st_nlink == 1
                    && stat.st_size as u64 == entry.size
                    && self.has_attributes(entry)
            }
            EntryKind::Symlink(target) => {
                is(FileType::Symlink)
                    && self.root.readlink(&entry.path).is_ok_and(|says| says == Path::new(target))
            }
            EntryKind::Directory | EntryKind::Hardlink(_) => false,
            node => node.node().is_some_and(|(kind, device)| is(kind) && stat.st_rdev == device),
        }
    }

    /// Whether what was there before has the attributes of the entry.
    fn has_attributes(&self, entry: &Entry) -> bool {
        let is_there = |(name, value): &(OsString, Vec<u8>)| matches!(self.root.xattr(&entry.path, name), Ok(Some(known)) if known == *value);
        let Ok(known) = self.root.xattr_names(&entry.path) else { return false };
        let known = known.iter().filter(|name| builder::carries_attribute(name)).count();
        let wanted = || entry.attributes.iter().filter(|(name, _)| builder::carries_attribute(name));
        known == wanted().count() && wanted().all(is_there)
    }

    /// Makes room for a new entry.
    fn clear(&mut self, path: &OsStr) -> io::Result<()> {
        match self.mirror {
            Some(_) => {
                // What was looked into may go.
                self.looked = None;
                self.root.remove_all(path)
            }
            None => Ok(()),
        }
    }

    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        self.names += weight(entry);
        let most = self.lease.limits();
        if self.entries > most.entries {
            return Err(Error::invalid(format!("the build context has more than {} files", most.entries)));
        }
        if self.names > most.memory {
            let message = format!("the names in the build context take more than {} bytes", most.memory);
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    /// Begins to write a file that was added; `id` stands for it.
    pub fn open(&mut self, id: u32, entry: &Entry) -> Result<()> {
        if self.open.len() >= OPEN_MAX {
            return Err(Error::invalid("too many files of the build context come at once"));
        }
        let failed = || format!("write {} of the build context", entry.path.display());
        self.clear(&entry.path).during(failed())?;
        let file = self.root.create_file(&entry.path, 0o600).during(failed())?;
        self.open.insert(id, Open { entry: entry.clone(), file });
        Ok(())
    }

    /// Writes more of a file.
    pub fn write(&mut self, id: u32, bytes: &[u8]) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let most = self.lease.limits().bytes;
        if self.bytes > most {
            return Err(Error::invalid(format!("the build context is longer than {most} bytes")));
        }
        let Some(open) = self.open.get_mut(&id) else { return Err(unasked(id)) };
        let failed = || format!("write {} of the build context", open.entry.path.display());
        open.file.write_all(bytes).during(failed())
    }

    /// Ends a file.
    pub fn close(&mut self, id: u32) -> Result<()> {
        let Some(open) = self.open.remove(&id) else { return Err(unasked(id)) };
        let failed = || format!("describe {} of the build context", open.entry.path.display());
        let Entry { uid, gid, .. } = open.entry;
        if (uid, gid) != self.own {
            std::os::unix::fs::fchown(&open.file, Some(uid), Some(gid)).during(failed())?;
        }
        let mode = rustix::fs::Mode::from_raw_mode(open.entry.mode & 0o7777);
        rustix::fs::fchmod(&open.file, mode).during(failed())?;
        for (name, value) in open.entry.attributes.iter().filter(|(name, _)| builder::carries_attribute(name))
        {
            // What this file system refuses is left out, as BuildKit does.
            let _ = rustix::fs::fsetxattr(&open.file, name, value, XattrFlags::empty());
        }
        rustix::fs::futimens(&open.file, &times(&open.entry)).during(failed())
    }

    /// Gives a file another name.
    fn link(&self, entry: &Entry) -> Result<()> {
        let EntryKind::Hardlink(first) = &entry.kind else { return Ok(()) };
        let is_file = self.root.lstat(first).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
        });
        if !is_file {
            return Err(Error::invalid(format!("{:?} is a link to no file", entry.path)));
        }
        let failed = || format!("write {} of the build context", entry.path.display());
        self.root.hardlink(first, &entry.path).during(failed())
    }

    /// Ends the directory: modes and times of directories, the deepest first.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(open) = self.open.values().next() {
            let path = open.entry.path.display();
            return Err(Error::invalid(format!("{path} of the build context came to no end")));
        }
        if self.mirror.is_some() {
            self.forget_others()?;
        }
        for entry in std::mem::take(&mut self.links) {
            let failed = || format!("write {} of the build context", entry.path.display());
            self.clear(&entry.path).during(failed())?;
            self.link(&entry)?;
        }
        for entry in std::mem::take(&mut self.directories).iter().rev() {
            let known = self.before(&entry.path);
            if !known.is_some_and(|stat| is_described(&stat, entry)) || !self.has_attributes(entry) {
                self.describe(entry)?;
            }
        }
        if let Some(mirror) = &self.mirror {
            mirror.touch();
        }
        Ok(())
    }

    /// Removes what the client does not have any more.
    fn forget_others(&mut self) -> Result<()> {
        let directories = self.directories.iter().map(|entry| Path::new(&entry.path));
        for directory in directories.chain([Path::new("")]) {
            let failed = || format!("list {} of the build context", directory.display());
            for found in self.root.read_dir(directory).during(failed())? {
                let path = directory.join(&found.name);
                if !self.seen.contains(path.as_os_str()) {
                    let failed = || format!("remove {} of before", path.display());
                    self.root.remove_all(&path).during(failed())?;
                }
            }
        }
        self.looked = None;
        Ok(())
    }

    /// A file's content, none if there is no such file.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.root.read_file(name, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).during(format_args!("read {name} of the build context")),
        }
    }

    fn describe(&self, entry: &Entry) -> Result<()> {
        let failed = || format!("describe {} of the build context", entry.path.display());
        if (entry.uid, entry.gid) != self.own {
            self.root.chown(&entry.path, entry.uid, entry.gid).during(failed())?;
        }
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            self.root.chmod(&entry.path, entry.mode & 0o7777).during(failed())?;
        }
        self.attributes(entry);
        self.root.utimes(&entry.path, &times(entry)).during(failed())
    }

    /// Gives a directory or a link the attributes of the entry. What this file system refuses is left out, as BuildKit does.
    fn attributes(&self, entry: &Entry) {
        let known = match self.mirror {
            Some(_) => self.root.xattr_names(&entry.path).unwrap_or_default(),
            None => Vec::new(),
        };
        for name in known.iter().filter(|name| builder::carries_attribute(name)) {
            let _ = self.root.remove_xattr(&entry.path, name);
        }
        for (name, value) in entry.attributes.iter().filter(|(name, _)| builder::carries_attribute(name)) {
            let _ = self.root.set_xattr(&entry.path, name, value);
        }
    }
}

/// Whether mode, owner and time are those of the entry. A link's mode is nobody's choice.
fn is_described(stat: &Stat, entry: &Entry) -> bool {
    let is_link = matches!(entry.kind, EntryKind::Symlink(_));
    (is_link || stat.st_mode & 0o7777 == entry.mode & 0o7777)
        && (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid)
        && (stat.st_mtime, stat.st_mtime_nsec as i64)
            == (entry.modified.div_euclid(1_000_000_000), entry.modified.rem_euclid(1_000_000_000))
}

fn times(entry: &Entry) -> Timestamps {
    let seconds = entry.modified.div_euclid(1_000_000_000);
    let time = Timespec { tv_sec: seconds, tv_nsec: entry.modified.rem_euclid(1_000_000_000) };
    Timestamps { last_access: time, last_modification: time }
}

/// The bytes that keeping an entry in mind takes.
fn weight(entry: &Entry) -> u64 {
    let attributes = entry.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let target = match &entry.kind {
        EntryKind::Symlink(target) | EntryKind::Hardlink(target) => target.len(),
        _ => 0,
    };
    (entry.path.len() + target + attributes + size_of::<Entry>()) as u64
}

fn unasked(id: u32) -> Error {
    Error::invalid(format!("content came for file {id} of the build context, which nobody asked for"))
}

/// Whether a path names something below: no `..`, no empty part.
fn is_plain(path: &OsStr) -> bool {
    let bytes = path.as_bytes();
    let mut parts = bytes.split(|byte| *byte == b'/');
    !bytes.contains(&0) && bytes.len() < PATH_MAX && parts.all(|part| !matches!(part, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_kept_of_an_entry_weighs() {
        let of = |kind: EntryKind, attributes: &[(&str, &[u8])]| {
            let attributes = attributes.iter().map(|(name, value)| (OsString::from(name), value.to_vec()));
            weight(&Entry {
                path: OsString::from("a/b"),
                kind,
                mode: 0o644,
                uid: 0,
                gid: 0,
                modified: 0,
                size: 9,
                attributes: attributes.collect(),
            })
        };
        let plain = of(EntryKind::File, &[]);
        assert!(plain >= 3);
        assert_eq!(of(EntryKind::File, &[("user.a", b"1234")]), plain + 10);
        let long = OsString::from("x".repeat(4000));
        assert_eq!(of(EntryKind::Hardlink(long.clone()), &[]), plain + 4000);
        assert_eq!(of(EntryKind::Symlink(long), &[]), plain + 4000);
    }
}
