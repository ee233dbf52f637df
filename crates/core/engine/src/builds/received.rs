//! A directory that a client's files are written into, entry by entry, for a build to read.
//!
//! The client is not trusted: every path is resolved below the directory, a name is replaced and never followed, and what
//! is no file, directory or link is left out. It lies below `<root>/ingest` and goes with its lease.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, Timestamps};
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
    Symlink(String),
    /// Another name of an earlier file.
    Hardlink(String),
}

/// A file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the top of the directory.
    pub path: String,
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Nanoseconds since 1970.
    pub modified: i64,
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
    seen: BTreeSet<String>,
    open: BTreeMap<u32, Open>,
    entries: u64,
    /// What is kept in mind of them.
    names: u64,
    bytes: u64,
    lease: Lease,
}

impl Received {
    /// An empty directory.
    pub async fn new(engine: &Engine) -> Result<Self> {
        engine
            .blocking(|engine| {
                let lease = engine.store().lease("build context")?;
                let path = lease.scratch();
                make_private_dir(&path)?;
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
        let failed = || format!("write {} of the build context", entry.path);
        if !self.seen.insert(entry.path.clone()) {
            return Err(Error::invalid(format!("{:?} comes twice in the build context", entry.path)));
        }
        match &entry.kind {
            EntryKind::Directory => {
                self.root.mkdir(&entry.path, 0o700).during(failed())?;
                self.directories.push(entry.clone());
            }
            EntryKind::File => {}
            EntryKind::Symlink(target) => {
                if target.len() > PATH_MAX || target.contains('\0') {
                    return Err(Error::invalid(format!("{:?} is a link to what is no path", entry.path)));
                }
                self.root.symlink(target, &entry.path).during(failed())?;
                self.describe(entry)?;
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

    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        self.names += (entry.path.len() + size_of::<Entry>()) as u64;
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
        let failed = || format!("write {} of the build context", entry.path);
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
        open.file.write_all(bytes).during(format_args!("write {} of the build context", open.entry.path))
    }

    /// Ends a file.
    pub fn close(&mut self, id: u32) -> Result<()> {
        let Some(open) = self.open.remove(&id) else { return Err(unasked(id)) };
        let failed = || format!("describe {} of the build context", open.entry.path);
        let Entry { uid, gid, .. } = open.entry;
        if (uid, gid) != self.own {
            std::os::unix::fs::fchown(&open.file, Some(uid), Some(gid)).during(failed())?;
        }
        let mode = rustix::fs::Mode::from_raw_mode(open.entry.mode & 0o7777);
        rustix::fs::fchmod(&open.file, mode).during(failed())?;
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
        let failed = || format!("write {} of the build context", entry.path);
        self.root.hardlink(first, &entry.path).during(failed())
    }

    /// Ends the directory: modes and times of directories, the deepest first.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(open) = self.open.values().next() {
            return Err(Error::invalid(format!("{} of the build context came to no end", open.entry.path)));
        }
        for entry in std::mem::take(&mut self.links) {
            self.link(&entry)?;
        }
        for entry in std::mem::take(&mut self.directories).iter().rev() {
            self.describe(entry)?;
        }
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
        let failed = || format!("describe {} of the build context", entry.path);
        if (entry.uid, entry.gid) != self.own {
            self.root.chown(&entry.path, entry.uid, entry.gid).during(failed())?;
        }
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            self.root.chmod(&entry.path, entry.mode & 0o7777).during(failed())?;
        }
        self.root.utimes(&entry.path, &times(entry)).during(failed())
    }
}

fn times(entry: &Entry) -> Timestamps {
    let seconds = entry.modified.div_euclid(1_000_000_000);
    let time = Timespec { tv_sec: seconds, tv_nsec: entry.modified.rem_euclid(1_000_000_000) };
    Timestamps { last_access: time, last_modification: time }
}

fn unasked(id: u32) -> Error {
    Error::invalid(format!("content came for file {id} of the build context, which nobody asked for"))
}

/// Whether a path names something below: no `..`, no empty part.
fn is_plain(path: &str) -> bool {
    let parts = || path.split('/');
    !path.contains('\0') && path.len() < PATH_MAX && parts().all(|part| !matches!(part, "" | "." | ".."))
}
