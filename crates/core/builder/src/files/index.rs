//! What is known of the files of contexts, so that a tree that did not change isn't read again.
//!
//! A file is known by device, inode, size and both times: the change time moves with every write and can't be set back. As
//! in git's index, a file that had been changed within a clock's tick before it was read is not trusted: it could have been
//! changed once more in the same tick, and is read again the next time.
//!
//! One file a context's root, `<root>/file-index/<device>-<inode>`, in the machine's own byte order:
//!
//! ```text
//! "dhow files 1\n"
//! a file each: length of the path (u32), the path, device, inode, size (u64), modification, change (i64, ns since 1970),
//!              when it was read (i64), digest (32 bytes)
//! BLAKE3 of all before (32 bytes)
//! ```
//!
//! It is a hint: what can't be read, or is damaged, is made anew; it is replaced by a rename and not synced. Two builds of one
//! context at once each keep what they knew, the last one wins.

use super::{Error, io};
use rustix::fs::Stat;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;
use sys::root::Root;

const MAGIC: &[u8] = b"dhow files 1\n";
const DIGEST: usize = 32;
/// Fixed bytes of an entry after its path.
const FIELDS: usize = 6 * 8 + DIGEST;
/// A tick of the clock that times are taken from, with a good margin, in nanoseconds.
const TICK: i64 = 20_000_000;
/// The same where times are seconds, or two of them.
const COARSE_TICK: i64 = 2_100_000_000;

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

impl Stamp {
    /// The stamp of a status.
    pub fn of(stat: &Stat) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size as u64,
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
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

/// The files of one context.
pub struct Index {
    path: PathBuf,
    known: HashMap<Box<[u8]>, Known>,
    fresh: Mutex<HashMap<Box<[u8]>, Known>>,
}

impl Index {
    fn load(path: PathBuf) -> Self {
        let known = std::fs::read(&path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Self { path, known, fresh: Mutex::default() }
    }

    /// The digest of a file that has not changed since it was read.
    pub fn get(&self, path: &Path, stat: &Stat) -> Option<Sum> {
        let known = self.known.get(path.as_os_str().as_bytes())?;
        let same = known.stamp == Stamp::of(stat) && known.stamp.is_settled(known.read);
        same.then_some(known.sum)
    }

    /// Keeps the digest of a file whose status was this before and after it was read, which began at `read`.
    pub fn learn(&self, path: &Path, stat: &Stat, read: SystemTime, sum: Sum) {
        let read = read.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.insert(path.as_os_str().as_bytes().into(), Known { stamp: Stamp::of(stat), read, sum });
    }

    /// Writes what was learned, by way of `scratch`. Files that are gone are forgotten as the tree is asked for them.
    fn save(&self, root: &Root, scratch: &Path) -> Result<(), Error> {
        let fresh = std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        if fresh.is_empty() {
            return Ok(());
        }
        // Most of a changed tree is as it was; a look at each file that was not read now would cost more than the entry.
        let gone =
            |path: &[u8]| fresh.len() * 4 > self.known.len() && root.lstat(OsStr::from_bytes(path)).is_err();
        let kept = self.known.iter().filter(|(path, _)| !fresh.contains_key(*path) && !gone(path));
        let bytes = encode(kept.chain(&fresh));
        std::fs::write(scratch, bytes).map_err(io("write", scratch))?;
        std::fs::rename(scratch, &self.path).map_err(io("rename to", &self.path))
    }
}

fn encode<'e>(entries: impl Iterator<Item = (&'e Box<[u8]>, &'e Known)>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (path, known) in entries {
        let stamp = &known.stamp;
        bytes.extend((path.len() as u32).to_ne_bytes());
        bytes.extend(&path[..]);
        for field in [stamp.dev, stamp.ino, stamp.size] {
            bytes.extend(field.to_ne_bytes());
        }
        for field in [stamp.modified, stamp.changed, known.read] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(known.sum);
    }
    let sum = blake3::hash(&bytes);
    bytes.extend(sum.as_bytes());
    bytes
}

/// None if anything about it is wrong.
fn decode(bytes: &[u8]) -> Option<HashMap<Box<[u8]>, Known>> {
    let (bytes, sum) = bytes.split_last_chunk::<DIGEST>()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    if blake3::hash(bytes) != blake3::Hash::from_bytes(*sum) {
        return None;
    }
    let mut known = HashMap::with_capacity(rest.len() / (FIELDS + 24));
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (path, after) = after.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
        let (fields, after) = after.split_at_checked(FIELDS)?;
        let field = |at: usize| -> Option<[u8; 8]> { fields[8 * at..].first_chunk().copied() };
        let stamp = Stamp {
            dev: u64::from_ne_bytes(field(0)?),
            ino: u64::from_ne_bytes(field(1)?),
            size: u64::from_ne_bytes(field(2)?),
            modified: i64::from_ne_bytes(field(3)?),
            changed: i64::from_ne_bytes(field(4)?),
        };
        let sum = *fields.last_chunk::<DIGEST>()?;
        known.insert(path.into(), Known { stamp, read: i64::from_ne_bytes(field(5)?), sum });
        rest = after;
    }
    Some(known)
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
        let directory = index.path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory).map_err(io("make", directory))?;
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
        let stat = place.root.lstat("a").unwrap();
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
                tv_sec: stat.st_mtime,
                tv_nsec: stat.st_mtime_nsec as _,
            },
        };
        place.root.utimes("a", &times).unwrap();
        let now = place.root.lstat("a").unwrap();
        assert_eq!((now.st_mtime, now.st_size), (stat.st_mtime, stat.st_size));
        assert_eq!(index.get(Path::new("a"), &now), None);
    }

    #[test]
    fn a_file_read_in_the_tick_of_its_change_is_not_trusted() {
        let place = Place::new();
        let (indices, index) = place.index();
        let stat = place.root.lstat("a").unwrap();
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(stat.st_ctime as u64, 0)
            + Duration::from_nanos(stat.st_ctime_nsec);
        index.learn(Path::new("a"), &stat, changed + Duration::from_millis(1), [7; 32]);
        place.save(&indices);
        let (_, index) = place.index();
        assert_eq!(index.get(Path::new("a"), &stat), None);
    }

    #[test]
    fn a_damaged_index_is_made_anew() {
        let place = Place::new();
        let stat = place.root.lstat("a").unwrap();
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
            assert!(decode(&bytes).is_none(), "{damage}");
            assert!(decode(&whole[..damage]).is_none(), "{damage}");
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
        index.learn(Path::new("a"), &place.root.lstat("a").unwrap(), later(), [7; 32]);
        indices.save(&place.root, place.dir.path(), &place.dir.path().join("scratch")).unwrap();
        assert!(!place.dir.path().join("index").exists());
    }

    #[test]
    fn files_that_are_gone_are_forgotten() {
        let place = Place::new();
        let (indices, index) = place.index();
        let stat = place.root.lstat("a").unwrap();
        index.learn(Path::new("a"), &stat, later(), [7; 32]);
        place.save(&indices);
        std::fs::remove_file(place.dir.path().join("context/a")).unwrap();
        let (indices, index) = place.index();
        index.learn(Path::new("b"), &place.root.lstat("b").unwrap(), later(), [8; 32]);
        place.save(&indices);
        assert_eq!(decode(&std::fs::read(place.file()).unwrap()).unwrap().len(), 1);
    }
}
