//! Files below one directory, by `openat2`.
//!
//! A file is written under `tmp`, synced, renamed, and the directory that has the name then is synced. `lock` is locked
//! (flock) shared by whoever makes something be referred to, and alone by the sweep of the garbage collection, also when it
//! is another process'. `tmp` is locked shared by each process that has the storage open: who finds nobody there may take away
//! what others have left.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use oci::Digest;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW,
};
use sys::root::Root;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::{Content, DOCUMENT_MAX, Error, Key, Stat};

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// What is written under another name first.
const TMP: &str = "tmp";
/// What a crash left there is older than this.
const TMP_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const LOCK: &str = "lock";
/// How often is looked whether another process has let go of it.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The lock, as long as it is held.
pub(crate) struct Lock {
    _file: File,
    _gate: Gate,
}

#[expect(dead_code, reason = "held and not looked at")]
enum Gate {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

/// The directory. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    root: Arc<Root>,
    /// The lock of `tmp`, for as long as the storage is open.
    _open: Arc<OwnedFd>,
    /// Whether no other process had it open when this one opened it.
    alone: bool,
    /// The lock among our own requests, in order; the file's is for other processes.
    gate: Arc<RwLock<()>>,
}

impl Disk {
    /// Opens the directory, which is made where it is not there; with `only` no other process may have it open meanwhile.
    pub(crate) fn open(path: &Path, only: bool) -> Result<Disk, Error> {
        let failed = |error: io::Error| Error::new("open", path.display().to_string(), error);
        std::fs::create_dir_all(path).map_err(failed)?;
        let root = Root::open(path).map_err(failed)?;
        for folder in [TMP, "repositories", "blobs"] {
            root.mkdir_p(folder, DIRECTORY_MODE).map_err(failed)?;
        }
        let (open, alone) = join(&root, only).map_err(failed)?;
        let disk = Disk { root: Arc::new(root), _open: Arc::new(open), alone, gate: Arc::default() };
        disk.sweep_tmp().map_err(failed)?;
        Ok(disk)
    }

    /// Whether what is unfinished here is nobody's any more.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Removes what writes that did not finish have left.
    fn sweep_tmp(&self) -> io::Result<()> {
        for entry in self.root.read_dir(TMP)? {
            let path = Path::new(TMP).join(&entry.name);
            let stat = self.root.lstat(&path)?;
            let age = SystemTime::now().duration_since(time(stat.st_mtime, 0));
            if self.alone || age.is_ok_and(|age| age > TMP_AGE) {
                self.root.unlink(&path)?;
            }
        }
        Ok(())
    }

    /// Does this where waiting for the disk harms nobody.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        attempt: &'static str,
        object: &str,
        work: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let disk = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&disk)).await;
        done.map_err(io::Error::other).flatten().map_err(|error| Error::new(attempt, object, error))
    }

    pub(super) async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        let path = key.0.clone();
        self.work("read", &key.0, move |disk| match disk.root.read_file(&path, DOCUMENT_MAX) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => absent(error),
        })
        .await
    }

    pub(super) async fn write(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        let path = key.0.clone();
        self.work("write", &key.0, move |disk| disk.put(&path, &bytes)).await
    }

    /// Keeps bytes under a path, durably and whole.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        // A name alone needs no second one.
        if bytes.is_empty() {
            return self.put_name(path);
        }
        let scratch = format!("{TMP}/{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let written = self.root.create_file(&scratch, FILE_MODE).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let done = written.and_then(|()| self.place(&scratch, path));
        if done.is_err() {
            let _ = self.root.unlink(&scratch);
        }
        done
    }

    fn put_name(&self, path: &str) -> io::Result<()> {
        match self.root.create_file(path, FILE_MODE) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folder(parent(path))?;
                match self.root.create_file(path, FILE_MODE) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            // Whoever makes it at the same time may not have come to syncing it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.touch_now(path)?;
            }
            Err(error) => return Err(error),
        }
        self.sync_folder(parent(path))
    }

    /// Renames what is complete and synced to its place.
    fn place(&self, from: &str, to: &str) -> io::Result<()> {
        let rename = || self.root.rename_with(from, to, RenameFlags::empty());
        match rename() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folder(parent(to))?;
                rename()?;
            }
            other => other?,
        }
        self.sync_folder(parent(to))
    }

    /// Makes a folder whose name is on disk when this returns.
    pub(crate) fn make_folder(&self, path: &str) -> io::Result<()> {
        loop {
            match self.root.mkdir(path, DIRECTORY_MODE) {
                Ok(()) => return self.sync_folder(parent(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !parent(path).is_empty() => {
                    self.make_folder(parent(path))?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        let folder = self.root.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(rustix::fs::fsync(folder)?)
    }

    pub(super) async fn remove(&self, key: &Key) -> Result<bool, Error> {
        let path = key.0.clone();
        self.work("remove", &key.0, move |disk| match disk.root.unlink(&path) {
            Ok(()) => disk.sync_folder(parent(&path)).map(|()| true),
            Err(error) => absent(error).map(|none: Option<()>| none.is_some()),
        })
        .await
    }

    pub(super) async fn stat(&self, key: &Key) -> Result<Option<Stat>, Error> {
        let path = key.0.clone();
        self.work("look at", &key.0, move |disk| match disk.root.lstat(&path) {
            Ok(stat) => Ok(Some(known(&stat))),
            Err(error) => absent(error),
        })
        .await
    }

    pub(super) async fn touch(&self, key: &Key) -> Result<bool, Error> {
        let path = key.0.clone();
        self.work("touch", &key.0, move |disk| disk.touch_now(&path)).await
    }

    fn touch_now(&self, path: &str) -> io::Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        match self.root.utimes(path, &times) {
            Ok(()) => Ok(true),
            Err(error) => absent(error).map(|none: Option<()>| none.is_some()),
        }
    }

    pub(super) async fn names(&self, folder: String, after: &str, most: usize) -> Result<Vec<String>, Error> {
        let (path, after) = (folder.clone(), after.to_owned());
        self.work("list", &folder, move |disk| {
            let mut names: Vec<String> = disk.list(&path)?.into_iter().filter(|name| *name > after).collect();
            // Only so many need to be in order as are given.
            if most < names.len() && most > 0 {
                names.select_nth_unstable(most - 1);
            }
            names.truncate(most);
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = match self.root.read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
            Ok(entries) => entries,
        };
        Ok(entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
    }

    pub(super) async fn entries(&self, folder: String) -> Result<Vec<(String, Stat)>, Error> {
        let path = folder.clone();
        self.work("list", &folder, move |disk| {
            let names = disk.list(&path)?;
            if names.is_empty() {
                return Ok(Vec::new());
            }
            let directory = disk.root.open_with(&path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            let mut entries = Vec::with_capacity(names.len());
            for name in names {
                match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => entries.push((name, known(&stat))),
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(entries)
        })
        .await
    }

    pub(super) async fn has_folder(&self, path: String) -> Result<bool, Error> {
        self.work("look at", &path.clone(), move |disk| match disk.root.lstat(&path) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            Err(error) => absent(error).map(|none: Option<()>| none.is_some()),
        })
        .await
    }

    pub(super) async fn open_content(&self, key: &Key) -> Result<Option<Content>, Error> {
        let path = key.0.clone();
        self.work("open", &key.0, move |disk| match disk.root.open_file(&path) {
            Ok(file) => {
                let metadata = file.metadata()?;
                Ok(Some(Content::file(file, metadata.len())))
            }
            Err(error) => absent(error),
        })
        .await
    }

    pub(super) async fn adopt(&self, spooled: &str, key: &Key) -> Result<(), Error> {
        let (from, to) = (spooled.to_owned(), key.0.clone());
        self.work("place", &key.0, move |disk| disk.place(&from, &to)).await
    }

    /// Takes the lock, shared or alone. Nobody waits for it in a thread: those are needed by who has it.
    pub(super) async fn lock(&self, alone: bool) -> Result<Lock, Error> {
        let gate = match alone {
            true => Gate::Alone(self.gate.clone().write_owned().await),
            false => Gate::Shared(self.gate.clone().read_owned().await),
        };
        loop {
            let file = self.work("lock", LOCK, move |disk| disk.try_lock(alone)).await?;
            if let Some(file) = file {
                return Ok(Lock { _file: file, _gate: gate });
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    fn try_lock(&self, alone: bool) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = self.root.open_with(LOCK, flags, Mode::from_raw_mode(FILE_MODE))?;
        let operation = match alone {
            true => FlockOperation::NonBlockingLockExclusive,
            false => FlockOperation::NonBlockingLockShared,
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(File::from(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a folder with folders in it, if there is nothing else.
    pub(super) async fn remove_folders(&self, path: String) -> Result<bool, Error> {
        self.work("remove", &path.clone(), move |disk| {
            match disk.prune(&path).and_then(|()| disk.sync_folder(parent(&path))) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
                other => other.map(|()| true),
            }
        })
        .await
    }

    fn prune(&self, path: &str) -> io::Result<()> {
        for name in self.list(path)? {
            self.prune(&format!("{path}/{name}"))?;
        }
        self.root.rmdir(path)
    }

    /// A new file, or an old one to go on with, at the end of which is written.
    pub(crate) fn append(&self, path: &str, new: bool) -> io::Result<File> {
        // The kernel takes no mode for a file that is there.
        let (flags, mode) = match new {
            true => (OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(FILE_MODE)),
            false => (OFlags::empty(), Mode::empty()),
        };
        let flags = flags | OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW;
        let file = self.root.open_with(path, flags, mode)?;
        Ok(File::from(file))
    }

    /// The files of a folder.
    pub(crate) fn files(&self, path: &str) -> io::Result<Vec<String>> {
        self.list(path)
    }

    /// A small file.
    pub(crate) fn small(&self, path: &str) -> io::Result<Vec<u8>> {
        self.root.read_file(path, DOCUMENT_MAX)
    }

    /// Removes a file, if it is there.
    pub(crate) fn discard(&self, path: &str) -> io::Result<()> {
        match self.root.unlink(path) {
            Ok(()) => Ok(()),
            Err(error) => absent(error).map(|_: Option<()>| ()),
        }
    }

    /// The digest of a file's content.
    pub(crate) fn digest(&self, path: &str, mut hash: crate::hash::Hash) -> io::Result<Digest> {
        let mut file = self.root.open_file(path)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.digest()),
                count => hash.update(&buffer[..count]),
            }
        }
    }
}

/// Says that this process has the storage open, and finds out whether it is the only one.
fn join(root: &Root, only: bool) -> io::Result<(OwnedFd, bool)> {
    let folder = root.open_with(TMP, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let alone = match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(rustix::io::Errno::WOULDBLOCK) => false,
        Err(error) => return Err(error.into()),
    };
    match (only, alone) {
        (true, true) => {}
        (true, false) => return Err(io::Error::other("another process has the registry open")),
        (false, _) => rustix::fs::flock(&folder, FlockOperation::LockShared)?,
    }
    Ok((folder, alone))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// What is not there is none, and no error.
fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
        _ => Err(error),
    }
}

fn known(stat: &rustix::fs::Stat) -> Stat {
    Stat { size: stat.st_size.unsigned_abs(), modified: time(stat.st_mtime, stat.st_mtime_nsec as u32) }
}

fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let length = Duration::new(seconds.unsigned_abs(), nanoseconds);
    match seconds {
        0.. => SystemTime::UNIX_EPOCH + length,
        _ => SystemTime::UNIX_EPOCH,
    }
}

/// When a file was written to last.
pub(crate) fn modified(file: &File) -> io::Result<SystemTime> {
    let metadata = file.metadata()?;
    Ok(time(metadata.mtime(), 0))
}
