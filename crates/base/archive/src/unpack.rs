//! Writing the entries of an archive below a root.
//!
//! Confinement: the kernel resolves the directory of each entry below the root (`openat2`, see [`sys::root`]); the
//! entry itself is created by its last name in that directory, exclusively and without following anything. All
//! that is set on it is set through a descriptor. So neither `..`, absolute names, links in the archive, nor
//! another process that swaps directories for links can lead a write out of the root.
//!
//! What can't be served is an error that names the entry; what was written until then stays, for the caller to
//! throw away. Later entries replace earlier ones of the same name, as Docker has it.

use crate::write::{Made, Metadata};
use crate::{Entry, Error, Guard, Kind, Reader, whiteout};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use sys::root::Root;
use sys::space::Room;

/// How an archive is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Semantics {
    /// A layer: whiteouts become overlayfs' own. What the layers below decide is left to [`settle`].
    Layer,
    /// Files and nothing else.
    Plain {
        /// Whether a directory may replace what is none, and the other way round.
        replace_kind: bool,
    },
}

/// What an archive may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes that may be kept in mind until the end: names of directories.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 1 << 40, entries: 10_000_000, memory: 128 << 20 }
    }
}

impl Limits {
    /// How long the archive itself may be: the content and some headers for each entry.
    pub fn stream(&self) -> u64 {
        self.entries.saturating_mul(2048).saturating_add(self.bytes)
    }
}

/// How to unpack.
#[derive(Clone, Copy)]
pub struct Options {
    /// How the archive is meant.
    pub semantics: Semantics,
    /// Whom everything belongs to, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// Whether device nodes are made; else they are an error.
    pub devices: bool,
    /// What it may cost, besides never all of the disk (see [`sys::space`]).
    pub limits: Limits,
}

impl Options {
    /// A layer.
    pub fn layer() -> Options {
        Options { semantics: Semantics::Layer, owner: None, devices: true, limits: Limits::default() }
    }

    /// Files and nothing else; kinds may replace each other.
    pub fn plain() -> Options {
        let semantics = Semantics::Plain { replace_kind: true };
        Options { semantics, owner: None, devices: true, limits: Limits::default() }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries, marks included.
    pub entries: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// Extended attributes that the file system or the kernel refused.
    pub xattrs_skipped: u64,
    /// What of a layer depends on the layers below.
    pub unsettled: Unsettled,
}

/// What of an unpacked layer depends on the layers below it, which needn't be there while it is unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Directories that the archive has content for but no entry: they are as the layers below have them.
    pub implied: BTreeSet<PathBuf>,
    /// Whether the root is opaque. The kernel reads that attribute of no layer's root, so each name below gets a
    /// mark of its own.
    pub opaque_root: bool,
}

/// Settles what depends on the layers below, given topmost first.
pub fn settle(root: &Root, unsettled: &Unsettled, lower: &[Root]) -> Result<(), Error> {
    if unsettled.opaque_root {
        white_out_root(root, lower).map_err(Error::entry("apply the whiteout", whiteout::OPAQUE))?;
        return Ok(());
    }
    for path in &unsettled.implied {
        let Some(below) = lower.iter().find_map(|root| root.lstat(path).ok()) else { continue };
        if FileType::from_raw_mode(below.st_mode) != FileType::Directory {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        // What is no directory any more was replaced by a later entry.
        let Ok(fd) = root.open_with(path, flags, Mode::empty()) else { continue };
        let metadata = Metadata::like(&below);
        metadata
            .set_owner_and_mode(fd.as_fd())
            .and_then(|()| metadata.set_times(fd.as_fd()))
            .map_err(Error::entry("set owner and mode of", path))?;
    }
    Ok(())
}

/// Hides each name that the roots of the layers below have and this one doesn't.
fn white_out_root(root: &Root, lower: &[Root]) -> std::io::Result<()> {
    for below in lower {
        for entry in below.read_dir("")? {
            match crate::write::lstat(root.as_fd(), &entry.name) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    crate::write::white_out(root.as_fd(), &entry.name)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Unpacks an archive (not compressed) below `root`. Reads up to the archive's end mark and no further than its
/// buffer.
pub fn unpack(source: impl Read, root: &Root, options: &Options) -> Result<Stats, Error> {
    let source = Guard::new(source, options.limits.stream(), || false);
    unpack_buffered(&mut BufReader::with_capacity(256 << 10, source), root, options)
}

/// [`unpack`] from a stream that has a buffer; what follows the end mark stays in the stream.
pub fn unpack_buffered(source: &mut impl BufRead, root: &Root, options: &Options) -> Result<Stats, Error> {
    let mut reader = Reader::new(source);
    let mut unpacker = Unpacker::new(root, options);
    while let Some(entry) = reader.next_entry()? {
        unpacker.place(&entry, &mut reader)?;
    }
    unpacker.finish()
}

/// A directory that entries are put in.
struct Parent {
    fd: OwnedFd,
    /// What is made in it gets its group.
    setgid: bool,
}

/// Unpacks entry by entry, for who wants to see them or to do something else with some of them.
pub struct Unpacker<'a> {
    root: &'a Root,
    options: &'a Options,
    /// Directories that were resolved; emptied whenever something is removed, as only that can change them.
    parents: HashMap<PathBuf, Parent>,
    /// What is set on a directory when nothing is put in it any more.
    late: BTreeMap<PathBuf, Metadata>,
    /// Bytes of the names in `late` and of implied directories.
    memory: u64,
    room: Option<Room>,
    umask: u32,
    is_root: bool,
    /// Whether there is something that goes at the end, see [`whiteout::ASIDE`].
    aside: bool,
    stats: Stats,
}

/// Open directories that are kept.
const PARENTS_MAX: usize = 64;

impl<'a> Unpacker<'a> {
    /// Starts below this root.
    pub fn new(root: &'a Root, options: &'a Options) -> Unpacker<'a> {
        let (parents, late, stats) = (HashMap::new(), BTreeMap::new(), Stats::default());
        let is_root = rustix::process::geteuid().is_root();
        // Without a look at the file system it says itself when it is full.
        let room = Room::on(root.as_fd()).ok();
        let (umask, aside) = (umask(), false);
        Unpacker { root, options, parents, late, memory: 0, room, umask, is_root, aside, stats }
    }

    fn is_layer(&self) -> bool {
        self.options.semantics == Semantics::Layer
    }

    fn count(&mut self, entry: &Entry) -> Result<(), Error> {
        let limits = self.options.limits;
        self.stats.entries += 1;
        if self.stats.entries > limits.entries {
            return Err(Error::TooLarge { limit: limits.entries, unit: "entries" });
        }
        self.stats.bytes = self.stats.bytes.saturating_add(entry.size);
        if self.stats.bytes > limits.bytes {
            return Err(Error::TooLarge { limit: limits.bytes, unit: "bytes" });
        }
        if matches!(entry.kind, Kind::Char | Kind::Block) && !self.options.devices {
            return Err(Error::refused(&entry.path, "is a device, which has no place in this archive"));
        }
        match self.room.as_mut().map(Room::take_name) {
            Some(Err(error)) => Err(Error::entry("make", &entry.path)(error)),
            _ => Ok(()),
        }
    }

    /// Keeps a name of a directory in mind, within limits.
    fn remember(&mut self, path: &Path) -> std::io::Result<()> {
        self.memory += (path.as_os_str().len() + size_of::<Metadata>()) as u64;
        if self.memory > self.options.limits.memory {
            let text = format!("more than {} bytes of names of directories", self.options.limits.memory);
            return Err(std::io::Error::new(std::io::ErrorKind::QuotaExceeded, text));
        }
        Ok(())
    }

    /// Sets a directory's time and access lists at the end; everything else is set.
    fn later(&mut self, path: &Path, metadata: Metadata) -> std::io::Result<()> {
        if !self.late.contains_key(path) {
            self.remember(path)?;
        }
        self.late.insert(path.to_path_buf(), metadata);
        Ok(())
    }

    /// Unpacks the reader's current entry.
    pub fn place<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), Error> {
        self.count(entry)?;
        let path = normal(&entry.path).ok_or_else(|| Error::refused(&entry.path, "leads out of the root"))?;
        let Some(name) = path.file_name() else { return self.place_root(entry) };
        let directory = path.parent().unwrap_or(Path::new(""));
        if self.is_layer() {
            match whiteout::meaning(&path)? {
                whiteout::Meaning::Itself => {}
                whiteout::Meaning::Aside if entry.kind == Kind::File => self.make_aside(entry)?,
                whiteout::Meaning::Aside | whiteout::Meaning::Nothing => return Ok(()),
                whiteout::Meaning::Opaque => return self.make_opaque(directory, entry),
                whiteout::Meaning::Gone(gone) => return self.white_out(directory, gone, entry),
            }
        }
        self.parent(directory).map_err(Error::entry("make the directory of", &entry.path))?;
        let metadata = Metadata::of(entry, self.options.owner);
        let made = self.make(&path, directory, name, entry)?;
        self.fill(made, &path, metadata, entry, reader)
    }

    /// Sets what is to be set on a new object, and writes its content.
    fn fill<R: BufRead>(
        &mut self,
        made: Made,
        path: &Path,
        mut metadata: Metadata,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), Error> {
        let setgid =
            self.parents.get(path.parent().unwrap_or(Path::new(""))).is_none_or(|parent| parent.setgid);
        // In a new tree nothing but a set-group-id directory gives an object another owner than ours.
        let ours = self.is_layer() && !setgid && self.is_root;
        metadata.skip_owner = ours && metadata.uid == 0 && metadata.gid == 0;
        // Made with this mode, unless the mask took bits away or a new owner takes the set-id ones.
        let mode_kept = metadata.mode & (self.umask | 0o6000) == 0;
        metadata.skip_mode = self.is_layer() && mode_kept && matches!(made, Made::File(_));
        let failed = |attempt| Error::entry(attempt, &entry.path);
        match made {
            Made::Nothing => {}
            Made::File(file) => {
                crate::write::content(&file, entry, reader, &mut self.room)?;
                self.stats.xattrs_skipped +=
                    metadata.set(file.as_fd()).map_err(failed("set owner and mode of"))?;
                metadata.set_times(file.as_fd()).map_err(failed("set the time of"))?;
            }
            Made::Directory(fd) => {
                metadata.set_owner_and_mode(fd.as_fd()).map_err(failed("set owner and mode of"))?;
                // Access lists would be inherited by what is put inside, and the time changes with it.
                let late = metadata.split_late();
                self.stats.xattrs_skipped +=
                    metadata.set_xattrs(fd.as_fd()).map_err(failed("set attributes of"))?;
                self.stats.unsettled.implied.remove(path);
                self.later(path, late).map_err(failed("remember"))?;
            }
            Made::Other(fd) => {
                self.stats.xattrs_skipped +=
                    metadata.set_by_path(&fd).map_err(failed("set owner and mode of"))?;
            }
        }
        Ok(())
    }

    /// The root itself: a layer says what it is like, plain files leave it alone.
    fn place_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(Error::refused(&entry.path, "would replace the root"));
        }
        if !self.is_layer() {
            return Ok(());
        }
        let mut metadata = Metadata::of(entry, self.options.owner);
        let late = metadata.split_late();
        let fd = self
            .root
            .open_with("", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(Error::entry("open", &entry.path))?;
        metadata
            .set_owner_and_mode(fd.as_fd())
            .map_err(Error::entry("set owner and mode of", &entry.path))?;
        self.stats.xattrs_skipped +=
            metadata.set_xattrs(fd.as_fd()).map_err(Error::entry("set attributes of", &entry.path))?;
        self.later(Path::new(""), late).map_err(Error::entry("remember", &entry.path))
    }

    /// Makes the object, replacing what is in its place.
    fn make(
        &mut self,
        path: &Path,
        directory: &Path,
        name: &std::ffi::OsStr,
        entry: &Entry,
    ) -> Result<Made, Error> {
        let target = match entry.kind {
            Kind::HardLink => Some(
                normal(&entry.link)
                    .ok_or_else(|| Error::refused(&entry.path, "links to what is outside of the root"))?,
            ),
            _ => None,
        };
        // What is removed may be made again by somebody who races with us, but not for ever.
        for _ in 0..16 {
            let root = self.root;
            let parent =
                self.parent(directory).map_err(Error::entry("open the directory of", &entry.path))?;
            let attempt = match &target {
                Some(target) => crate::write::make_link(root, target, parent, name),
                None => crate::write::make(parent, name, entry),
            };
            match attempt {
                Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && target.is_some() => {
                    let problem = format!("links to {:?}, which is not there", entry.link);
                    return Err(Error::refused(&entry.path, problem));
                }
                other => return other.map_err(Error::entry("make", &entry.path)),
            }
            if let Some(made) = self.displace(path, directory, name, entry)? {
                return Ok(made);
            }
        }
        Err(Error::refused(&entry.path, "somebody keeps making it"))
    }

    /// Removes what stands where the entry goes; gives it back if it is a directory and stays one.
    fn displace(
        &mut self,
        path: &Path,
        directory: &Path,
        name: &std::ffi::OsStr,
        entry: &Entry,
    ) -> Result<Option<Made>, Error> {
        let failed = |attempt| Error::entry(attempt, &entry.path);
        let is_directory = entry.kind == Kind::Directory;
        let parent = self.parent(directory).map_err(failed("open the directory of"))?;
        let existing = match crate::write::lstat(parent, name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("look at"))?,
        };
        let was_directory = FileType::from_raw_mode(existing.st_mode) == FileType::Directory;
        if is_directory && was_directory {
            let fd = crate::write::open_directory(parent, name).map_err(failed("open"))?;
            return Ok(Some(Made::Directory(fd)));
        }
        if let Semantics::Plain { replace_kind: false } = self.options.semantics
            && is_directory != was_directory
        {
            let problem = match was_directory {
                true => "cannot overwrite a directory with what is none",
                false => "cannot overwrite with a directory what is none",
            };
            return Err(Error::refused(&entry.path, problem));
        }
        let was_whiteout = self.is_layer() && crate::write::is_whiteout(&existing);
        self.root.remove_all(path).map_err(failed("replace"))?;
        self.parents.clear();
        if is_directory && was_whiteout {
            // What the mark said is still true of the layers below.
            let parent = self.parent(directory).map_err(failed("open the directory of"))?;
            let made = crate::write::make(parent, name, entry).map_err(failed("make"))?;
            if let Made::Directory(fd) = &made {
                crate::write::set_opaque(fd.as_fd()).map_err(failed("make opaque"))?;
            }
            return Ok(Some(made));
        }
        Ok(None)
    }

    fn make_aside(&mut self, entry: &Entry) -> Result<(), Error> {
        if !self.aside {
            let made = self.root.mkdir(whiteout::ASIDE, 0o700);
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
        self.parent(directory).map_err(Error::entry("make the directory of", &entry.path))?;
        self.root
            .open_with(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .and_then(|fd| crate::write::set_opaque(fd.as_fd()))
            .map_err(Error::entry("apply the whiteout", &entry.path))
    }

    fn white_out(&mut self, directory: &Path, gone: &std::ffi::OsStr, entry: &Entry) -> Result<(), Error> {
        let parent = self.parent(directory).map_err(Error::entry("make the directory of", &entry.path))?;
        crate::write::white_out(parent, gone).map_err(Error::entry("apply the whiteout", &entry.path))
    }

    /// The directory of an entry, made if it is missing.
    fn parent(&mut self, directory: &Path) -> std::io::Result<BorrowedFd<'_>> {
        if !self.parents.contains_key(directory) {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let fd = match self.root.open_with(directory, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(error) if is_absent(&error) => {
                    self.make_parents(directory)?;
                    self.root.open_with(directory, flags, Mode::empty())?
                }
                Err(error) => return Err(error),
            };
            if self.parents.len() >= PARENTS_MAX {
                self.parents.clear();
            }
            let setgid = rustix::fs::fstat(&fd)?.st_mode & 0o2000 != 0;
            self.parents.insert(directory.to_path_buf(), Parent { fd, setgid });
        }
        Ok(self.parents[directory].fd.as_fd())
    }

    /// Makes the missing ones of a directory and the directories above it.
    fn make_parents(&mut self, directory: &Path) -> std::io::Result<()> {
        let mut prefix = PathBuf::new();
        for component in directory.iter() {
            prefix.push(component);
            match self.root.open_with(&prefix, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
                Ok(_) => continue,
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
            let gone = self.is_layer()
                && self.root.lstat(&prefix).is_ok_and(|existing| crate::write::is_whiteout(&existing));
            if gone {
                self.root.unlink(&prefix)?;
            }
            self.root.mkdir(&prefix, 0o755)?;
            let fd = self.root.open_with(&prefix, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let (uid, gid) = self.options.owner.unwrap_or((0, 0));
            Metadata::directory(uid, gid).set_owner_and_mode(fd.as_fd())?;
            if gone {
                crate::write::set_opaque(fd.as_fd())?;
            } else if self.is_layer() {
                self.remember(&prefix)?;
                self.stats.unsettled.implied.insert(prefix.clone());
            }
        }
        Ok(())
    }

    /// Sets what is set last: times and attributes of directories.
    pub fn finish(mut self) -> Result<Stats, Error> {
        if self.aside {
            self.root.remove_all(whiteout::ASIDE).map_err(Error::entry("remove", whiteout::ASIDE))?;
        }
        for (path, metadata) in &self.late {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let fd = match self.root.open_with(path, flags, Mode::empty()) {
                Ok(fd) => fd,
                // A later entry has replaced it.
                Err(error)
                    if is_absent(&error) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
                {
                    continue;
                }
                Err(error) => return Err(Error::entry("open", path)(error)),
            };
            self.stats.xattrs_skipped +=
                metadata.set_xattrs(fd.as_fd()).map_err(Error::entry("set attributes of", path))?;
            metadata.set_times(fd.as_fd()).map_err(Error::entry("set the time of", path))?;
        }
        Ok(self.stats)
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// The path without `.`, `..` and slashes too many, relative to the root; none if it leads above the root.
pub(crate) fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
        }
    }
    Some(normal)
}

/// The process's file mode creation mask, which can't be asked for without setting it but through /proc.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
