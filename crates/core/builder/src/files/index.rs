//! What is known of the files of contexts, so that a tree that did not change isn't read again.
//!
//! A file is known by device, inode, size and both times: the change time moves with every write and can't be set back. As
//! in git's index, a file that had been changed within a clock's tick before it was read is not trusted: it could have been
//! changed once more in the same tick, and is read again the next time.
//!
//! One file a context's root, `<root>/file-index/<device>-<inode>`, in the machine's own byte order, made to be used as it is
//! read:
//!
//! ```text
//! "dhow files 2\n", number of files (u32)
//! a file each, in the order in which a walk meets them: where its path ends among the paths (u32), device, inode,
//!         size (u64), modification, change (i64, ns since 1970), when it was read (i64), digest (32 bytes)
//! the paths
//! BLAKE3 of all before (32 bytes)
//! ```
//!
//! Where times are part of an image, and nobody moves them when that is another one (squashfs and the like), nothing is kept. Not
//! seen, as by all who trust in times, is what is written through a mapping of a file that is written already.
//!
//! It is a hint: what can't be read, or is damaged, is made anew; it is replaced by a rename and not synced. Two builds of one
//! context at once each keep what they knew, the last one wins.

use super::plan::order;
use super::walk::Status;
use super::{Error, io};
use rustix::fs::Stat;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;
use sys::root::Root;

const MAGIC: &[u8] = b"dhow files 2\n";
const DIGEST: usize = 32;
/// Bytes before the entries.
const HEAD: usize = MAGIC.len() + 4;
/// Bytes of an entry.
const ENTRY: usize = 4 + 6 * 8 + DIGEST;
/// A tick of the clock that times are taken from, with a good margin, in nanoseconds.
const TICK: i64 = 20_000_000;
/// The same where times are seconds, or two of them.
const COARSE_TICK: i64 = 2_100_000_000;

/// File systems that are made once as a whole, by their numbers (`statfs(2)`): squashfs, EROFS, ISO 9660, cramfs, romfs.
const IMAGES: [rustix::fs::FsWord; 5] = [0x7371_7368, 0xe0f5_e1e2, 0x9660, 0x28cd_3d45, 0x7275];

/// A digest of a file's content.
pub type Sum = [u8; DIGEST];

/// What a file's content is known by. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: i64,
    changed: i64,
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Self::of(&stat.into())
    }
}

impl Stamp {
    /// The stamp of a status.
    pub fn of(stat: &Status) -> Self {
        let nanos =
            |(seconds, nanos): (i64, u32)| seconds.saturating_mul(1_000_000_000).saturating_add(nanos.into());
        Self {
            dev: stat.dev,
            ino: stat.ino,
            size: stat.size,
            modified: nanos(stat.modified),
            changed: nanos(stat.changed),
        }
    }

    /// Whether every later change has another stamp, if the file was read at that time.
    fn is_settled(&self, read: i64) -> bool {
        let last = self.modified.max(self.changed);
        let tick = if self.changed % 1_000_000 == 0 { COARSE_TICK } else { TICK };
        last.saturating_add(tick) <= read
    }
}

/// What is known of one file.
#[derive(Clone, Copy)]
struct Known {
    stamp: Stamp,
    read: i64,
    sum: Sum,
}

impl Known {
    fn bytes(&self, end: u32) -> [u8; ENTRY] {
        let Stamp { dev, ino, size, modified, changed } = self.stamp;
        let mut bytes = [0; ENTRY];
        bytes[..4].copy_from_slice(&end.to_ne_bytes());
        let fields = [dev, ino, size, modified as u64, changed as u64, self.read as u64];
        for (at, field) in fields.into_iter().enumerate() {
            bytes[4 + 8 * at..][..8].copy_from_slice(&field.to_ne_bytes());
        }
        bytes[ENTRY - DIGEST..].copy_from_slice(&self.sum);
        bytes
    }

    fn of(bytes: &[u8; ENTRY]) -> Option<Self> {
        let field = |at: usize| bytes[4 + 8 * at..].first_chunk().copied().map(u64::from_ne_bytes);
        let stamp = Stamp {
            dev: field(0)?,
            ino: field(1)?,
            size: field(2)?,
            modified: field(3)? as i64,
            changed: field(4)? as i64,
        };
        Some(Self { stamp, read: field(5)? as i64, sum: *bytes.last_chunk()? })
    }
}

/// What was read from the file, as it is there.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    count: usize,
}

impl Table {
    /// None if anything about the file is wrong.
    fn of(bytes: Vec<u8>) -> Option<Self> {
        let (content, sum) = bytes.split_last_chunk::<DIGEST>()?;
        let count = content.strip_prefix(MAGIC)?.first_chunk().copied().map(u32::from_ne_bytes)? as usize;
        let is_whole = content.len() >= count.checked_mul(ENTRY)?.checked_add(HEAD)?;
        (is_whole && blake3::hash(content) == blake3::Hash::from_bytes(*sum)).then_some(Self { bytes, count })
    }

    fn entry(&self, at: usize) -> Option<&[u8; ENTRY]> {
        if at >= self.count {
            return None;
        }
        self.bytes.get(HEAD + at * ENTRY..)?.first_chunk()
    }

    fn end(&self, at: usize) -> Option<usize> {
        self.entry(at)?.first_chunk().map(|end| u32::from_ne_bytes(*end) as usize)
    }

    fn path(&self, at: usize) -> Option<&Path> {
        let end = self.end(at)?;
        let begin = if at == 0 { 0 } else { self.end(at - 1)? };
        let paths = self.bytes.get(HEAD + self.count * ENTRY..self.bytes.len() - DIGEST)?;
        paths.get(begin..end).map(|path| Path::new(OsStr::from_bytes(path)))
    }

    /// Where a path is; it is looked for at `hint` first.
    fn find(&self, path: &Path, hint: usize) -> Option<usize> {
        if self.path(hint) == Some(path) {
            return Some(hint);
        }
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match order(self.path(middle)?, path) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// The files of one context.
pub struct Index {
    path: PathBuf,
    known: Table,
    /// What comes after that which was asked for last.
    next: AtomicUsize,
    fresh: Mutex<Vec<(Box<Path>, Known)>>,
}

impl Index {
    fn load(path: PathBuf) -> Self {
        let known = std::fs::read(&path).ok().and_then(Table::of).unwrap_or_default();
        Self { path, known, next: AtomicUsize::new(0), fresh: Mutex::default() }
    }

    /// The digest of a file that has not changed since it was read.
    pub fn get(&self, path: &Path, stat: &Status) -> Option<Sum> {
        let at = self.known.find(path, self.next.load(Atomic::Relaxed))?;
        self.next.store(at + 1, Atomic::Relaxed);
        let known = Known::of(self.known.entry(at)?)?;
        let same = known.stamp == Stamp::of(stat) && known.stamp.is_settled(known.read);
        same.then_some(known.sum)
    }

    /// Keeps the digest of a file whose status was this before and after it was read, which began at `read`.
    pub fn learn(&self, path: &Path, stat: &Status, read: SystemTime, sum: Sum) {
        let read = read.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.push((path.into(), Known { stamp: Stamp::of(stat), read, sum }));
    }

    /// Writes what was learned, by way of `scratch`. Files that are gone are forgotten as the tree is asked for them.
    fn save(&self, root: &Root, scratch: &Path) -> Result<(), Error> {
        let fresh = self.learned();
        if fresh.is_empty() {
            return Ok(());
        }
        // Most of a changed tree is as it was; a look at each file that was not read now would cost more than the entry.
        let looks = fresh.len() * 4 > self.known.count;
        let kept = |path: &Path| !looks || root.lstat(path).is_ok();
        let merged = self.merged(&fresh, kept);
        write(scratch, &merged).map_err(io("write", scratch))?;
        std::fs::rename(scratch, &self.path).map_err(io("rename to", &self.path))
    }

    /// Takes what was learned, in order; of what was learned twice the last counts.
    fn learned(&self) -> Vec<(Box<Path>, Known)> {
        let mut fresh = std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        fresh.reverse();
        fresh.sort_by(|a, b| order(&a.0, &b.0));
        fresh.dedup_by(|a, b| a.0 == b.0);
        fresh
    }

    /// What is known and what was learned, in order; the latter in place of the former.
    fn merged<'e>(
        &'e self,
        fresh: &'e [(Box<Path>, Known)],
        kept: impl Fn(&Path) -> bool,
    ) -> Vec<(&'e Path, Known)> {
        let mut merged = Vec::with_capacity(self.known.count + fresh.len());
        let mut fresh = fresh.iter().peekable();
        for at in 0..self.known.count {
            let (Some(path), Some(known)) = (self.known.path(at), self.known.entry(at).and_then(Known::of))
            else {
                continue;
            };
            while let Some((new, known)) = fresh.next_if(|(new, _)| order(new, path) == Ordering::Less) {
                merged.push((&**new, *known));
            }
            if fresh.peek().is_none_or(|(new, _)| **new != *path) && kept(path) {
                merged.push((path, known));
            }
        }
        merged.extend(fresh.map(|(path, known)| (&**path, *known)));
        merged
    }
}

/// Writes the file.
fn write(path: &Path, entries: &[(&Path, Known)]) -> std::io::Result<()> {
    // Names of files are their owner's business.
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut file = BufWriter::with_capacity(64 << 10, file);
    let mut hash = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        file.write_all(bytes)
    };
    put(MAGIC)?;
    put(&(entries.len() as u32).to_ne_bytes())?;
    let mut end = 0;
    for (path, known) in entries {
        end += path.as_os_str().len() as u32;
        put(&known.bytes(end))?;
    }
    for (path, _) in entries {
        put(path.as_os_str().as_bytes())?;
    }
    file.write_all(hash.finalize().as_bytes())?;
    file.flush()
}

/// Makes the directory of the indices, which is nobody else's; one of an older version becomes so.
fn make_private(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))
}

/// A context's root, as it is looked up.
type Key = (u64, u64);

/// The indices of one build's contexts.
#[derive(Default)]
pub struct Indices {
    open: Mutex<HashMap<Key, Arc<OnceLock<Arc<Index>>>>>,
}

impl Indices {
    /// The index of the context with this root.
    pub fn of(&self, directory: &Path, root: &Root) -> Result<Arc<Index>, Error> {
        let stat = rustix::fs::fstat(root.as_fd()).map_err(|e| io("look at", "the context")(e.into()))?;
        let key = (stat.st_dev, stat.st_ino);
        let slot = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(open.entry(key).or_default())
        };
        let load = || Arc::new(Index::load(directory.join(format!("{:x}-{:x}", key.0, key.1))));
        Ok(Arc::clone(slot.get_or_init(load)))
    }

    /// Keeps what was learned of this context, unless it lies below `passing`: what was unpacked for one build.
    pub fn save(&self, root: &Root, passing: &Path, scratch: &Path) -> Result<(), Error> {
        let stat = rustix::fs::fstat(root.as_fd()).map_err(|e| io("look at", "the context")(e.into()))?;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = open.get(&(stat.st_dev, stat.st_ino)).and_then(|slot| slot.get()) else {
            return Ok(());
        };
        let own = std::fs::read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()));
        if own.is_ok_and(|own| own.starts_with(passing)) {
            return Ok(());
        }
        if rustix::fs::fstatfs(root.as_fd()).is_ok_and(|found| IMAGES.contains(&found.f_type)) {
            return Ok(());
        }
        let directory = index.path.parent().unwrap_or(Path::new("/"));
        make_private(directory).map_err(io("make", directory))?;
        index.save(root, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Place {
        dir: tempfile::TempDir,
        root: Root,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("context")).unwrap();
            std::fs::write(dir.path().join("context/a"), "a").unwrap();
            std::fs::write(dir.path().join("context/b"), "b").unwrap();
            let root = Root::open(dir.path().join("context")).unwrap();
            Self { dir, root }
        }

        fn status(&self, name: &str) -> Status {
            (&self.root.lstat(name).unwrap()).into()
        }

        fn index(&self) -> (Indices, Arc<Index>) {
            let indices = Indices::default();
            let index = indices.of(&self.dir.path().join("index"), &self.root).unwrap();
            (indices, index)
        }

        fn save(&self, indices: &Indices) {
            indices.save(&self.root, Path::new("/nowhere"), &self.dir.path().join("scratch")).unwrap();
        }

        fn file(&self) -> PathBuf {
            std::fs::read_dir(self.dir.path().join("index")).unwrap().next().unwrap().unwrap().path()
        }
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(5)
    }

    #[test]
    fn what_was_learned_is_known_until_the_file_changes() {
        let place = Place::new();
        let (indices, index) = place.index();
        let stat = place.status("a");
        index.learn(Path::new("a"), &stat, later(), [7; 32]);
        place.save(&indices);
        let (_, index) = place.index();
        assert_eq!(index.get(Path::new("a"), &stat), Some([7; 32]));
        assert_eq!(index.get(Path::new("b"), &stat), None);
        // Same size, same modification time: the change time tells.
        std::fs::write(place.dir.path().join("context/a"), "x").unwrap();
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: rustix::fs::Timespec {
                tv_sec: stat.modified.0,
                tv_nsec: stat.modified.1 as _,
            },
        };
        place.root.utimes("a", &times).unwrap();
        let now = place.status("a");
        assert_eq!((now.modified, now.size), (stat.modified, stat.size));
        assert_eq!(index.get(Path::new("a"), &now), None);
    }

    #[test]
    fn names_of_files_are_private() {
        let place = Place::new();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // A directory of an older version.
        std::fs::create_dir(place.dir.path().join("index")).unwrap();
        std::fs::set_permissions(place.dir.path().join("index"), Permissions::from_mode(0o755)).unwrap();
        let (indices, index) = place.index();
        index.learn(Path::new("a"), &place.status("a"), later(), [7; 32]);
        place.save(&indices);
        assert_eq!((mode(&place.dir.path().join("index")), mode(&place.file())), (0o700, 0o600));
    }

    #[test]
    fn a_file_read_in_the_tick_of_its_change_is_not_trusted() {
        let place = Place::new();
        let (indices, index) = place.index();
        let stat = place.status("a");
        let changed = SystemTime::UNIX_EPOCH + Duration::new(stat.changed.0 as u64, stat.changed.1);
        index.learn(Path::new("a"), &stat, changed + Duration::from_millis(1), [7; 32]);
        place.save(&indices);
        let (_, index) = place.index();
        assert_eq!(index.get(Path::new("a"), &stat), None);
    }

    #[test]
    fn a_damaged_index_is_made_anew() {
        let place = Place::new();
        let stat = place.status("a");
        let learn = || {
            let (indices, index) = place.index();
            index.learn(Path::new("a"), &stat, later(), [7; 32]);
            place.save(&indices);
        };
        learn();
        let whole = std::fs::read(place.file()).unwrap();
        for damage in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[damage] ^= 0x20;
            assert!(Table::of(bytes).is_none(), "{damage}");
            assert!(Table::of(whole[..damage].to_vec()).is_none(), "{damage}");
        }
        std::fs::write(place.file(), &whole[..40]).unwrap();
        assert_eq!(place.index().1.get(Path::new("a"), &stat), None);
        learn();
        assert_eq!(place.index().1.get(Path::new("a"), &stat), Some([7; 32]));
    }

    #[test]
    fn what_is_unpacked_for_one_build_is_not_kept() {
        let place = Place::new();
        let (indices, index) = place.index();
        index.learn(Path::new("a"), &place.status("a"), later(), [7; 32]);
        indices.save(&place.root, place.dir.path(), &place.dir.path().join("scratch")).unwrap();
        assert!(!place.dir.path().join("index").exists());
    }

    #[test]
    fn files_that_are_gone_are_forgotten() {
        let place = Place::new();
        let (indices, index) = place.index();
        let stat = place.status("a");
        index.learn(Path::new("a"), &stat, later(), [7; 32]);
        place.save(&indices);
        std::fs::remove_file(place.dir.path().join("context/a")).unwrap();
        let (indices, index) = place.index();
        index.learn(Path::new("b"), &place.status("b"), later(), [8; 32]);
        place.save(&indices);
        assert_eq!(Table::of(std::fs::read(place.file()).unwrap()).unwrap().count, 1);
    }

    #[test]
    fn what_was_learned_in_any_order_is_found_in_any_order() {
        let place = Place::new();
        let stat = place.status("a");
        let names: Vec<String> = (0..300).map(|n| format!("d{}/f{}.{n}", n % 7, n % 50)).collect();
        for half in [0, 1] {
            let (_, index) = place.index();
            for (n, name) in names.iter().enumerate().filter(|(n, _)| n % 2 == half || n % 9 == 0) {
                index.learn(Path::new(name), &stat, later(), [9; 32]);
                index.learn(Path::new(name), &stat, later(), [n as u8; 32]);
            }
            // None of them is in the tree: what is looked for there would be forgotten.
            let fresh = index.learned();
            std::fs::create_dir_all(index.path.parent().unwrap()).unwrap();
            super::write(&index.path, &index.merged(&fresh, |_| true)).unwrap();
        }
        let (_, index) = place.index();
        assert_eq!(index.known.count, names.len());
        for (n, name) in names.iter().enumerate().rev() {
            assert_eq!(index.get(Path::new(name), &stat), Some([n as u8; 32]), "{name}");
        }
        assert_eq!(index.get(Path::new("d3"), &stat), None);
    }
}
