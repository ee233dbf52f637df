//! Walking a tree: every entry once, in a fixed order, with what the ignore file leaves of it.
//!
//! Directories are listed side by side by a few threads, each by one `getdents` and a status per name relative to the
//! directory; directories that the ignore file hides whole are never opened. Trees of a hundred thousand files are usual:
//! an entry has one allocation and what of its status is used.

mod survey;

use super::{Error, io};
use dockerfile::ignore::{Ignore, Inherited};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use survey::Survey;
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

/// What of an entry's status is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Device that it is on.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Length.
    pub size: u64,
    /// Device that it stands for.
    pub rdev: u64,
    /// Modification: seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    /// Change, likewise.
    pub changed: (i64, u32),
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names.
    pub links: u32,
}

impl From<&Stat> for Status {
    fn from(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size as u64,
            rdev: stat.st_rdev,
            modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        }
    }
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Item {
    /// Path in the tree.
    pub path: PathBuf,
    /// Where in it the part below the walk's start begins.
    below: u32,
    /// Its type.
    pub kind: FileType,
    /// Its status.
    pub stat: Status,
    /// What a symbolic link says.
    pub target: Option<Box<Path>>,
    /// It is a directory without extended attributes.
    pub is_plain: bool,
    /// It is a directory that is copied for what is in it alone: one that is at the destination stays as it is.
    pub is_way: bool,
}

impl Item {
    /// The start of a walk.
    /// What is at a path of a tree, without a walk.
    pub(crate) fn start(path: &Path, stat: &Stat, target: Option<Box<Path>>) -> Self {
        Self {
            path: path.into(),
            below: path.as_os_str().len() as u32,
            kind: FileType::from_raw_mode(stat.st_mode),
            stat: stat.into(),
            target,
            is_plain: false,
            is_way: false,
        }
    }

    /// Path below the walk's start; empty for the start itself.
    pub fn relative(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path.as_os_str().as_bytes()[self.below as usize..]))
    }

    /// Whether it is what the walk began with.
    pub fn is_start(&self) -> bool {
        self.below as usize == self.path.as_os_str().len()
    }
}

/// The deepest directory that is walked into.
const MAX_DEPTH: usize = 2000;
/// Bytes of a directory that are read at once.
const BUFFER: usize = 64 << 10;

impl Tree<'_> {
    /// All entries at and below `start` (a path without links), directories before what is in them, names in byte order.
    /// Ignored directories appear if something below them is not ignored.
    pub fn walk(&self, start: &Path) -> Result<Vec<Item>, Error> {
        let (ignored, inherited) = self.inherited(start);
        let stat = self.status(start)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let target = match kind {
            FileType::Symlink => {
                Some(self.root.readlink(start).map_err(io("read link", start))?.into_boxed_path())
            }
            _ => None,
        };
        let top = Item::start(start, &stat, target);
        if kind != FileType::Directory {
            return Ok(if ignored { Vec::new() } else { vec![top] });
        }
        if ignored && self.ignore.is_some_and(|i| i.may_skip_below(&text(start))) {
            return Ok(Vec::new());
        }
        let survey = Survey::new(self, Task { number: 0, item: top, ignored, inherited, depth: 0 });
        std::thread::scope(|scope| survey.serve(Some(scope)));
        survey.items()
    }

    /// The status of a path without links. The mode of a context's own folder is nobody's business: it is another one where the
    /// context was sent.
    pub fn status(&self, path: &Path) -> Result<Stat, Error> {
        let mut stat = self.root.lstat(path).map_err(io("stat", path))?;
        if self.is_context && path.as_os_str().is_empty() {
            stat.st_mode = stat.st_mode & !0o7777 | 0o755;
        }
        Ok(stat)
    }

    /// One entry alone, links in its path resolved.
    pub fn entry(&self, path: &Path) -> Result<Item, Error> {
        let path = super::real::path(self.root, path)?;
        let stat = self.status(&path)?;
        Ok(Item::start(&path, &stat, None))
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

    /// The line of the ignore file that leaves this very path out.
    pub fn ignored(&self, path: &Path) -> Option<u32> {
        let ignore = self.ignore.filter(|_| !path.as_os_str().is_empty())?;
        let (is_ignored, line) = ignore.decide(&text(path));
        line.filter(|_| is_ignored)
    }

    /// What is in a directory: what is there, and the directories to go on with, whose numbers are still to be given.
    fn list(&self, task: &Task, names: &mut Names) -> Result<(Listed, Vec<Task>), Error> {
        let path = &task.item.path;
        if task.depth > MAX_DEPTH {
            return Err(Error::Conflict { message: format!("{}: directories are too deep", path.display()) });
        }
        if (self.cancelled)() {
            return Err(Error::Cancelled);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = match self.root.open_with(path, flags, Mode::empty()) {
            // Somebody removed it while we looked: then it is empty.
            Err(e)
                if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && task.depth > 0 =>
            {
                return Ok((Listed::default(), Vec::new()));
            }
            other => other.map_err(io("list", path))?,
        };
        names.read(&fd).map_err(|e| io("list", path)(e.into()))?;
        let is_plain = rustix::fs::flistxattr_query(&fd) == Ok(0);
        let ignore = self.ignore.filter(|i| !i.is_empty());
        let mut listed = Listed { is_plain, children: Vec::with_capacity(names.len()), ..Listed::default() };
        let mut deeper = Vec::new();
        let own = |name: &CStr| joined(path, name.to_bytes());
        for name in names.iter() {
            let (ignored, inherited) = match ignore {
                Some(ignore) => ignore.check(&text(&own(name)), &task.inherited),
                None => (false, Inherited::default()),
            };
            let stat = match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(|e| io("stat", own(name))(e.into()))?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            let is_dir = kind == FileType::Directory;
            if ignored && (!is_dir || ignore.is_some_and(|i| i.may_skip_below(&text(&own(name))))) {
                continue;
            }
            let target = match kind {
                FileType::Symlink => {
                    let says = rustix::fs::readlinkat(&fd, name, Vec::new());
                    let says = says.map_err(|e| io("read link", own(name))(e.into()))?;
                    Some(Path::new(&OsString::from_vec(says.into_bytes())).into())
                }
                _ => None,
            };
            let begin = listed.names.len();
            let name_at = (begin as u32, (begin + name.count_bytes()) as u32);
            let leaf = Leaf { name: name_at, kind, stat: (&stat).into(), target };
            if is_dir {
                let item = leaf.item(&task.item, name.to_bytes());
                listed.children.push(Child::Directory(0));
                deeper.push(Task { number: 0, item, ignored, inherited, depth: task.depth + 1 });
            } else {
                listed.names.extend(name.to_bytes());
                listed.children.push(Child::Other(leaf));
            }
        }
        Ok((listed, deeper))
    }
}

/// The names of a directory, in the order of their bytes.
struct Names {
    buffer: Vec<u8>,
    /// One after the other, each with its end mark.
    bytes: Vec<u8>,
    /// Where they begin and end.
    at: Vec<(u32, u32)>,
}

impl Names {
    fn new() -> Self {
        Self { buffer: Vec::with_capacity(BUFFER), bytes: Vec::new(), at: Vec::new() }
    }

    /// Reads a directory.
    fn read(&mut self, fd: &OwnedFd) -> rustix::io::Result<()> {
        self.bytes.clear();
        self.at.clear();
        let mut entries = RawDir::new(fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                let begin = self.bytes.len();
                self.bytes.extend(name.to_bytes_with_nul());
                self.at.push((begin as u32, self.bytes.len() as u32));
            }
        }
        let bytes = &self.bytes;
        self.at.sort_unstable_by(|a, b| {
            bytes[a.0 as usize..a.1 as usize].cmp(&bytes[b.0 as usize..b.1 as usize])
        });
        Ok(())
    }

    fn len(&self) -> usize {
        self.at.len()
    }

    fn iter(&self) -> impl Iterator<Item = &CStr> {
        let name = |(begin, end): &(u32, u32)| &self.bytes[*begin as usize..*end as usize];
        self.at.iter().filter_map(move |at| CStr::from_bytes_with_nul(name(at)).ok())
    }
}

/// The path of a name in a directory, in no more memory than it takes.
fn joined(directory: &Path, name: &[u8]) -> PathBuf {
    let directory = directory.as_os_str().as_bytes();
    let slash = usize::from(!directory.is_empty());
    let mut path = Vec::with_capacity(directory.len() + slash + name.len());
    if !directory.is_empty() {
        path.extend(directory);
        path.push(b'/');
    }
    path.extend(name);
    OsString::from_vec(path).into()
}

/// A directory to be listed.
struct Task {
    /// Its place among all that is listed.
    number: usize,
    item: Item,
    ignored: bool,
    inherited: Inherited,
    depth: usize,
}

/// What is in a directory.
enum Child {
    /// The number of its listing.
    Directory(usize),
    Other(Leaf),
}

/// What is no directory, without its path: threads that allocate one for each wait for each other.
struct Leaf {
    /// Where its name is in [`Listed::names`].
    name: (u32, u32),
    kind: FileType,
    stat: Status,
    target: Option<Box<Path>>,
}

impl Leaf {
    /// The entry of this name in a directory.
    fn item(self, directory: &Item, name: &[u8]) -> Item {
        let path = joined(&directory.path, name);
        let below = match directory.is_start() {
            true => (path.as_os_str().len() - name.len()) as u32,
            false => directory.below,
        };
        Item {
            path,
            below,
            kind: self.kind,
            stat: self.stat,
            target: self.target,
            is_plain: false,
            is_way: false,
        }
    }
}

/// A directory as listed.
#[derive(Default)]
struct Listed {
    is_plain: bool,
    /// Names of what is no directory, one after the other.
    names: Vec<u8>,
    children: Vec<Child>,
}

/// A path as the ignore file sees it.
fn text(path: &Path) -> String {
    path.as_os_str().to_string_lossy().into_owned()
}

/// The last component.
pub fn base_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_directories_come_in_order_whoever_lists_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut wanted = vec![String::new()];
        for a in 0..30 {
            wanted.push(format!("d{a:02}"));
            for b in 0..10 {
                std::fs::create_dir_all(dir.path().join(format!("d{a:02}/e{b}"))).unwrap();
                std::fs::write(dir.path().join(format!("d{a:02}/e{b}/f")), "x").unwrap();
                wanted.extend([format!("d{a:02}/e{b}"), format!("d{a:02}/e{b}/f")]);
            }
        }
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| false };
        let found: Vec<String> =
            tree.walk(Path::new("")).unwrap().iter().map(|i| i.relative().display().to_string()).collect();
        assert_eq!(found, wanted);
        let below: Vec<String> =
            tree.walk(Path::new("d07/e3")).unwrap().iter().map(|i| i.path.display().to_string()).collect();
        assert_eq!(below, ["d07/e3", "d07/e3/f"]);
        let stopped = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| true };
        assert!(matches!(stopped.walk(Path::new("")), Err(Error::Cancelled)));
    }

    #[test]
    fn hidden_directories_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["seen/f", "hidden/deep/f", "half/keep/f", "half/f"] {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(path), "x").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let ignore = Ignore::parse("hidden\nhalf\n!half/keep\n").unwrap();
        let tree = Tree { root: &root, ignore: Some(&ignore), is_context: true, cancelled: &|| false };
        let items = tree.walk(Path::new("")).unwrap();
        let found: Vec<_> = items.iter().map(|i| i.path.display().to_string()).collect();
        assert_eq!(found, ["", "half", "half/keep", "half/keep/f", "seen", "seen/f"]);

        let top = tree.walk(Path::new("hidden")).unwrap();
        assert!(top.is_empty());
    }
}
