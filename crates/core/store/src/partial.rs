//! Blobs that come from afar, kept in part when the process that fetches them dies or gives up, for the next one to go on
//! with.
//!
//! `ingest/partial-<algorithm>-<hex>` has the first bytes of the blob of this digest. Whoever writes it holds its lock until it is a
//! blob; who finds it locked may wait ([`Underway`]). Nobody trusts what is there: it is read, hashed and used as if it had come
//! just now. What nobody has gone on with for [`KEPT`] is garbage.

use crate::batch::Whole;
use crate::lease::remove;
use crate::{Error, Lease, Store};
use oci::{Digest, Hasher};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::space::Room;

/// How long a part of a blob waits for somebody to go on with it.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

const PREFIX: &str = "partial-";

/// The digest of a part's name.
fn digest_in(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix(PREFIX)?.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// A blob on its way. Read what was kept of it first ([`Read`]), then write the rest; [`crate::Batch::add_partial`] takes it as a blob.
/// Dropped before that, it is thrown away, unless it is to be kept.
pub struct Partial<'l> {
    /// What is written to a scratch file of the lease ends with it.
    lease: PhantomData<&'l Lease>,
    digest: Digest,
    path: PathBuf,
    file: File,
    /// None once it was compared.
    hash: Option<Hasher>,
    /// Bytes that were there.
    kept: u64,
    /// Bytes read or written.
    length: u64,
    room: Room,
    /// Whether somebody else can find it.
    named: bool,
    keep: bool,
}

/// Whose a blob is that is wanted.
pub enum Fetch<'l> {
    /// Ours: whoever wants it from now on waits for us.
    Ours(Partial<'l>),
    /// Somebody else's.
    Theirs(Underway),
}

/// A blob that somebody else is fetching, maybe in another process.
pub struct Underway {
    path: PathBuf,
    file: File,
}

impl Underway {
    /// Blocks until it has become a blob, or was given up, or whoever fetched it is dead: then it is to be asked for again.
    pub fn wait(&self) -> Result<(), Error> {
        // Shared, so that all who wait go on at the same time.
        for operation in [FlockOperation::LockShared, FlockOperation::Unlock] {
            rustix::io::retry_on_intr(|| rustix::fs::flock(&self.file, operation))
                .map_err(|error| Error::io("lock", &self.path)(error.into()))?;
        }
        Ok(())
    }

    /// How many bytes there are of it.
    pub fn length(&self) -> Result<u64, Error> {
        Ok(self.file.metadata().map_err(Error::io("look at", &self.path))?.len())
    }

    /// What there is of it, from its beginning.
    pub(crate) fn copy_to(&self, sink: &mut impl Write) -> Result<(), Error> {
        let mut file = &self.file;
        file.rewind()
            .and_then(|()| io::copy(&mut file, sink))
            .map(drop)
            .map_err(Error::io("copy", &self.path))
    }
}

impl Store {
    /// Starts a blob of this digest, or goes on with what there is of it; unless somebody else does. It may have become a blob
    /// since it was looked for.
    pub fn fetch<'l>(&self, _: &'l Lease, digest: &Digest) -> Result<Fetch<'l>, Error> {
        self.forget_partials(KEPT);
        let path = self.ingest_dir().join(format!("{PREFIX}{}-{}", digest.algorithm(), digest.hex()));
        loop {
            if let Some(file) = open_locked(&path)? {
                return Partial::new(digest, path, file, true).map(Fetch::Ours);
            }
            match File::open(&path) {
                Ok(file) => return Ok(Fetch::Theirs(Underway { path, file })),
                // It was given up just now, or has become a blob.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", path)(error)),
            }
        }
    }

    /// The same, with nothing that anybody has left or will find.
    pub fn fetch_anew<'l>(&self, lease: &'l Lease, digest: &Digest) -> Result<Partial<'l>, Error> {
        let path = lease.scratch();
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).clone();
        let file = options.open(&path).map_err(Error::io("make", &path))?;
        Partial::new(digest, path, file, false)
    }

    /// The parts that nobody is working on: where they are, and how many bytes of which blob they have.
    pub fn partials(&self) -> Result<Vec<(PathBuf, Digest, u64)>, Error> {
        self.partials_since(Duration::ZERO)
    }

    /// Removes the parts that nobody has touched for so long; whatever goes wrong here is what the collector is for.
    pub fn forget_partials(&self, age: Duration) {
        let Ok(partials) = self.partials_since(age) else { return };
        for (path, ..) in partials {
            remove_unlocked(&path).ok();
        }
    }

    /// Parts of at least this age without an owner.
    pub(crate) fn partials_since(&self, age: Duration) -> Result<Vec<(PathBuf, Digest, u64)>, Error> {
        let directory = self.ingest_dir();
        let failed = || Error::io("list", &directory);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Some(digest) = digest_in(&entry.file_name().to_string_lossy()) else { continue };
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed())?,
            };
            // A clock that was set back makes nothing old.
            let old = metadata.modified().is_ok_and(|at| at.elapsed().unwrap_or_default() >= age);
            if old && !is_locked(&entry.path())? {
                found.push((entry.path(), digest, metadata.len()));
            }
        }
        Ok(found)
    }
}

/// Whether this is the name of a part below `ingest`.
pub(crate) fn is_partial(name: &str) -> bool {
    digest_in(name).is_some()
}

/// Removes a part unless somebody is working on it; he would have to begin anew.
pub(crate) fn remove_unlocked(path: &Path) -> Result<(), Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("open", path))?,
    };
    match lock(&file, path)? && has_name(&file, path)? {
        true => remove(path),
        false => Ok(()),
    }
}

/// Whether the file is still the one of this name: whoever had its lock may have made it a blob, or removed it.
fn has_name(file: &File, path: &Path) -> Result<bool, Error> {
    let failed = || Error::io("look at", path);
    let own = file.metadata().map_err(failed())?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed()(error)),
    }
}

/// The file with its lock; none if somebody else has that.
fn open_locked(path: &Path) -> Result<Option<File>, Error> {
    loop {
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let file = options.open(path).map_err(Error::io("open", path))?;
        if !lock(&file, path)? {
            return Ok(None);
        }
        if has_name(&file, path)? {
            return Ok(Some(file));
        }
    }
}

fn lock(file: &File, path: &Path) -> Result<bool, Error> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(Error::io("lock", path)(error.into())),
    }
}

/// Tried as a shared lock: two who look at once must not take each other for an owner.
fn is_locked(path: &Path) -> Result<bool, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other.map_err(Error::io("open", path))?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(Error::io("lock", path)(error.into())),
    }
}

impl Partial<'_> {
    fn new(digest: &Digest, path: PathBuf, file: File, named: bool) -> Result<Self, Error> {
        let room = Room::on(&file).map_err(Error::io("look at", &path))?;
        let kept = file.metadata().map_err(Error::io("look at", &path))?.len();
        let (lease, hash) = (PhantomData, Some(Hasher::of(digest)));
        Ok(Partial {
            lease,
            digest: digest.clone(),
            path,
            file,
            hash,
            kept,
            length: 0,
            room,
            named,
            keep: false,
        })
    }

    /// Bytes that were here when it was opened.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
    }

    /// Dropping it leaves what there is for the next who wants this blob.
    pub fn keep(&mut self) {
        self.keep = self.named;
    }

    /// Compares what was read and written, which is all, with the digest.
    pub fn verify(&mut self) -> Result<(), Error> {
        let Some(hash) = self.hash.take() else { return Ok(()) };
        let found = hash.digest();
        match found == self.digest {
            true => Ok(()),
            false => Err(Error::Mismatch { what: "content", expected: self.digest.clone(), found }),
        }
    }

    /// The blob, whole, for [`crate::Batch`].
    pub(crate) fn whole(mut self) -> Result<(Digest, Whole), Error> {
        self.end()?;
        let file = self.file.try_clone().map_err(Error::io("open", &self.path))?;
        let keep = std::mem::replace(&mut self.keep, true) || self.named;
        Ok((
            self.digest.clone(),
            Whole { path: self.path.clone(), file, length: self.length, keep, sealed: false },
        ))
    }

    /// Compares and cuts what is here. From then on it is right whatever happens.
    fn end(&mut self) -> Result<(), Error> {
        self.verify()?;
        if self.length < self.kept {
            self.file.set_len(self.length).map_err(Error::io("cut", &self.path))?;
        }
        self.keep = self.named;
        Ok(())
    }
}

impl Read for Partial<'_> {
    /// What was kept, to its end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.kept.saturating_sub(self.length);
        let wanted = (buffer.len() as u64).min(left) as usize;
        let count = self.file.read(&mut buffer[..wanted])?;
        self.update(&buffer[..count]);
        Ok(count)
    }
}

impl Write for Partial<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.length < self.kept {
            // What is kept comes first, and all of it: else the sum were another's.
            self.file.seek(SeekFrom::Start(self.length))?;
            self.file.set_len(self.length)?;
            self.kept = self.length;
        }
        self.room.take(buffer.len() as u64)?;
        let count = self.file.write(buffer)?;
        self.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if !self.keep {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use state::Db;
    use std::sync::Arc;

    fn store(dir: &Path) -> Store {
        let db = Db::open(dir.join("state.db")).unwrap();
        Store::open(dir, &db).unwrap()
    }

    fn ours<'l>(store: &Store, lease: &'l Lease, digest: &Digest) -> Partial<'l> {
        match store.fetch(lease, digest).unwrap() {
            Fetch::Ours(partial) => partial,
            Fetch::Theirs(_) => panic!("somebody else fetches {digest}"),
        }
    }

    fn theirs(store: &Store, lease: &Lease, digest: &Digest) -> Underway {
        match store.fetch(lease, digest).unwrap() {
            Fetch::Ours(_) => panic!("nobody else fetches {digest}"),
            Fetch::Theirs(underway) => underway,
        }
    }

    #[test]
    fn who_comes_second_waits_until_it_is_a_blob_or_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let digest = Digest::sha256(b"first and second");
        let batch = store.batch(&Arc::new(store.lease("first").unwrap())).unwrap();
        let lease = store.lease("second").unwrap();
        /// Begins to wait, sees that this takes until `end`, and ends it.
        fn wait(underway: Underway, end: impl FnOnce()) -> Underway {
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    sender.send(()).unwrap();
                    underway.wait().unwrap();
                    sender.send(()).unwrap();
                });
                receiver.recv().unwrap();
                assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "it is under way");
                end();
                receiver.recv_timeout(Duration::from_secs(20)).expect("it is not under way any more");
                waiting.join().unwrap();
            });
            underway
        }

        let mut partial = ours(&store, batch.lease(), &digest);
        partial.write_all(b"first ").unwrap();
        let underway = theirs(&store, &lease, &digest);
        assert_eq!(underway.length().unwrap(), 6);
        // Given up: the second goes on with it.
        wait(underway, || {
            partial.keep();
            drop(partial);
        });
        let mut partial = ours(&store, batch.lease(), &digest);
        assert_eq!(partial.kept(), 6);
        io::copy(&mut partial, &mut io::sink()).unwrap();
        partial.write_all(b"and second").unwrap();
        let underway = theirs(&store, &lease, &digest);
        // Thrown away: it begins anew.
        wait(underway, || drop(partial));
        let mut partial = ours(&store, batch.lease(), &digest);
        assert_eq!(partial.kept(), 0);
        partial.write_all(b"first and second").unwrap();
        batch.add_partial(partial).unwrap();
        // It is whole, and of no use to others before it has its name; but for a copy.
        let underway = theirs(&store, &lease, &digest);
        assert_eq!((underway.length().unwrap(), store.blob_size(&digest).unwrap()), (16, None));
        let other = store.batch(&Arc::new(store.lease("third").unwrap())).unwrap();
        assert_eq!(other.add_copy(&underway, &digest).unwrap(), 16);
        assert!(other.add_copy(&underway, &Digest::sha256(b"other")).is_err());
        let underway = wait(underway, || batch.publish().unwrap());
        assert_eq!((underway.length().unwrap(), store.blob_size(&digest).unwrap()), (16, Some(16)));
        other.publish().unwrap();
        assert_eq!(store.read_blob(&digest, 16).unwrap(), b"first and second");
        drop((batch, other, lease));
        assert_eq!(std::fs::read_dir(store.ingest_dir()).unwrap().count(), 0);
    }

    #[test]
    fn the_next_goes_on_where_one_has_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let digest = Digest::sha256(b"first and second");
        let lease = store.lease("pull").unwrap();
        let mut partial = ours(&store, &lease, &digest);
        partial.write_all(b"first ").unwrap();
        // Who comes meanwhile fetches all of it, if it has to be.
        assert_eq!(store.fetch_anew(&lease, &digest).unwrap().kept(), 0);
        assert_eq!(store.partials().unwrap(), []);
        partial.keep();
        drop(partial);
        drop(lease);
        assert_eq!(store.partials().unwrap().len(), 1);
        store.gc().unwrap();
        assert_eq!(store.check(false).unwrap(), []);

        let batch = store.batch(&Arc::new(store.lease("pull").unwrap())).unwrap();
        let mut partial = ours(&store, batch.lease(), &digest);
        assert_eq!(partial.kept(), 6);
        let mut before = String::new();
        partial.read_to_string(&mut before).unwrap();
        assert_eq!(before, "first ");
        partial.write_all(b"and second").unwrap();
        assert_eq!(batch.add_partial(partial).unwrap(), 16);
        batch.publish().unwrap();
        assert_eq!(store.read_blob(&digest, 100).unwrap(), b"first and second");
        assert_eq!(std::fs::read_dir(store.ingest_dir()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_wrong_is_not_kept_and_what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let digest = Digest::sha256(b"right");
        let batch = store.batch(&Arc::new(store.lease("pull").unwrap())).unwrap();
        let mut partial = ours(&store, batch.lease(), &digest);
        partial.write_all(b"wrong").unwrap();
        assert!(matches!(batch.add_partial(partial), Err(Error::Mismatch { .. })));
        assert_eq!(store.partials().unwrap(), []);

        let mut partial = ours(&store, batch.lease(), &digest);
        partial.write_all(b"ri").unwrap();
        partial.keep();
        drop(partial);
        let (path, ..) = store.partials().unwrap().remove(0);
        let long_ago = std::time::SystemTime::now() - KEPT - Duration::from_secs(60);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(store.check(false).unwrap().len(), 1);
        store.gc().unwrap();
        assert!(!path.exists());
        assert_eq!(store.check(false).unwrap(), []);
    }
}
