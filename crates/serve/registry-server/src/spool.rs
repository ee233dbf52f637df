//! Uploads that are not finished: files below `uploads`, also where blobs are kept elsewhere, as what a blob is called is
//! only known at its end.
//!
//! ```text
//! uploads/<id>.json     whose it is and where it goes
//! uploads/<id>          what has come so far
//! ```
//!
//! An upload belongs to the repository and the user that began it. A server that starts again goes on with those that it
//! finds, but for those that nobody was told the name of. What nobody has written to for long is removed; where there are
//! too many, the longest idle one of whoever has most makes room. Between two requests no file is open.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use oci::Digest;
use serde::{Deserialize, Serialize};
use sys::space::Room;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::answer::Result;
use crate::error::{Code, Failure};
use crate::hash::Hash;
use crate::name::Name;
use crate::quota::{Quota, Reservation};
use crate::storage::disk::{Disk, modified};
use crate::storage::{Algorithm, Error};

const FOLDER: &str = "uploads";
/// Unfinished uploads that there may be.
const MOST: usize = 10_000;
/// Where there are too many, one that was idle for so long is given up: clients write on at once.
const IDLE: Duration = Duration::from_secs(10);

/// What is written down of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    repository: String,
    /// Empty is nobody in particular.
    user: String,
    /// Whether nobody can go on with it: it is the matter of one request.
    #[serde(default)]
    nameless: bool,
}

/// Whose an upload is going to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'w> {
    pub(crate) name: &'w Name,
    pub(crate) user: &'w str,
    /// Whether it ends with the request that begins it.
    pub(crate) nameless: bool,
}

/// An upload, by whoever works on it.
pub(crate) struct Upload {
    pub(crate) id: Uuid,
    record: Record,
    /// None between two requests.
    sink: Option<Sink>,
    /// Of all that has come; none when a part of the file was not seen by this process.
    hash: Option<Hash>,
    /// Bytes that have come.
    pub(crate) length: u64,
    active: SystemTime,
    gone: bool,
    /// Room that its bytes have.
    pub(crate) held: Option<Reservation>,
}

/// An open file, and the room that there is for it.
struct Sink {
    file: File,
    room: Room,
}

type Shared = Arc<tokio::sync::Mutex<Upload>>;

/// All unfinished uploads.
pub(crate) struct Spool {
    disk: Disk,
    uploads: Mutex<HashMap<Uuid, Shared>>,
    most: usize,
    idle: Duration,
}

impl Spool {
    /// Finds what an earlier server has left.
    pub(crate) fn open(disk: Disk) -> Result<Spool, Error> {
        let failed = |error: io::Error| Error::new("open", FOLDER, error);
        disk.make_folder(FOLDER).map_err(failed)?;
        let mut uploads = HashMap::new();
        for name in disk.files(FOLDER).map_err(failed)? {
            let Some(id) = name.strip_suffix(".json") else { continue };
            let Ok(id) = Uuid::try_parse(id) else { continue };
            match load(&disk, id) {
                Ok(upload) if !upload.record.nameless => {
                    uploads.insert(id, Arc::new(tokio::sync::Mutex::new(upload)));
                }
                _ if disk.is_alone() => discard(&disk, id).map_err(failed)?,
                // Another process may be about to write it.
                _ => {}
            }
        }
        Ok(Spool { disk, uploads: Mutex::new(uploads), most: MOST, idle: IDLE })
    }

    /// Counts what an earlier server has left.
    pub(crate) fn count_held(&self, quota: &Quota) {
        for shared in self.lock().values() {
            if let Ok(mut upload) = shared.try_lock()
                && upload.held.is_none()
            {
                upload.held = Some(quota.held(&upload.record.repository, upload.length));
            }
        }
    }

    /// Begins an upload.
    pub(crate) async fn start(
        &self,
        whose: Whose<'_>,
        algorithm: Algorithm,
    ) -> Result<OwnedMutexGuard<Upload>> {
        while self.lock().len() >= self.most {
            self.make_room(whose.user).await?;
        }
        let (repository, user) = (whose.name.as_str().to_owned(), whose.user.to_owned());
        let record = Record { repository, user, nameless: whose.nameless };
        let (disk, id) = (self.disk.clone(), Uuid::new_v4());
        let upload = blocking(id, "begin", move || begin(&disk, id, record, algorithm)).await?;
        let shared = Arc::new(tokio::sync::Mutex::new(upload));
        let guard = shared.clone().lock_owned().await;
        self.lock().insert(id, shared);
        Ok(guard)
    }

    /// The upload, for its owner alone, and for one request at a time.
    pub(crate) fn take(&self, id: Uuid, name: &Name, user: &str) -> Result<OwnedMutexGuard<Upload>> {
        let unknown = || Failure::new(Code::BlobUploadUnknown);
        let shared = self.lock().get(&id).cloned().ok_or_else(unknown)?;
        let busy = |_| {
            Failure::says(Code::BlobUploadInvalid, "another request writes to this upload")
                .status(http::StatusCode::CONFLICT)
        };
        let mut upload = shared.try_lock_owned().map_err(busy)?;
        if upload.hash.is_none() {
            // Whoever wrote last may have left before it was noted.
            self.look_again(&mut upload);
        }
        let owned = upload.record.repository == name.as_str() && upload.record.user == user;
        if owned && !upload.gone { Ok(upload) } else { Err(unknown()) }
    }

    /// Adds bytes to the end.
    pub(crate) async fn write(&self, upload: &mut Upload, bytes: Vec<Bytes>) -> Result<()> {
        let count = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        if count == 0 {
            return Ok(());
        }
        let (disk, id, taken, hash) = (self.disk.clone(), upload.id, upload.sink.take(), upload.hash.take());
        let written = blocking(id, "write to", move || {
            let (mut sink, mut hash) = (taken.map_or_else(|| Sink::open(&disk, id, false), Ok)?, hash);
            sink.room.take(count)?;
            for bytes in bytes {
                sink.file.write_all(&bytes)?;
                if let Some(hash) = &mut hash {
                    hash.update(&bytes);
                }
            }
            Ok((sink, hash))
        })
        .await;
        match written {
            Ok((sink, hash)) => (upload.sink, upload.hash) = (Some(sink), hash),
            Err(failure) => {
                self.look_again(upload);
                return Err(failure);
            }
        }
        upload.length += count;
        upload.active = SystemTime::now();
        Ok(())
    }

    /// After a write that did not come to its end, what is in the file counts.
    fn look_again(&self, upload: &mut Upload) {
        if let Ok(Some(length)) = self.disk.append(&path(upload.id), false).map(|file| length(&file).ok()) {
            upload.length = length;
        }
    }

    /// The digest of all that has come, which is on disk then.
    pub(crate) async fn finish(&self, upload: &mut Upload, algorithm: Algorithm) -> Result<Digest> {
        let (disk, id, taken, hash) = (self.disk.clone(), upload.id, upload.sink.take(), upload.hash.take());
        blocking(id, "finish", move || {
            let sink = taken.map_or_else(|| Sink::open(&disk, id, false), Ok)?;
            let digest = match hash.filter(|hash| hash.algorithm() == algorithm) {
                Some(hash) => hash.digest(),
                None => disk.digest(&path(id), Hash::new(algorithm))?,
            };
            sink.file.sync_data()?;
            Ok(digest)
        })
        .await
    }

    /// The file, to be read while it is written.
    pub(crate) fn reader(&self, upload: &Upload) -> Result<File, Error> {
        let failed = |error| Error::new("open", format!("upload {}", upload.id), error);
        self.disk.append(&path(upload.id), false).map_err(failed)
    }

    /// Where the file is.
    pub(crate) fn path(upload: &Upload) -> String {
        path(upload.id)
    }

    /// Ends an upload, with what is still there of it.
    pub(crate) async fn end(&self, upload: &mut Upload) -> Result<()> {
        upload.gone = true;
        (upload.sink, upload.held) = (None, None);
        self.lock().remove(&upload.id);
        let (disk, id) = (self.disk.clone(), upload.id);
        blocking(id, "remove", move || discard(&disk, id)).await
    }

    /// Ends the uploads that nobody has written to for so long, and says how many they were.
    pub(crate) async fn expire(&self, age: Duration) -> Result<usize> {
        let all: Vec<Shared> = self.lock().values().cloned().collect();
        let mut count = 0;
        for shared in all {
            // Who has it locked writes to it.
            let Ok(mut upload) = shared.try_lock_owned() else { continue };
            let idle = SystemTime::now().duration_since(upload.active).unwrap_or_default();
            if idle > age && !upload.gone {
                self.end(&mut upload).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Gives up the longest idle upload of the user who has most of them: nobody's uploads are in another's way.
    async fn make_room(&self, user: &str) -> Result<()> {
        let all: Vec<Shared> = self.lock().values().cloned().collect();
        let mut of: HashMap<String, Vec<(SystemTime, Shared)>> = HashMap::new();
        for shared in all {
            // Who has it locked writes to it.
            if let Ok(upload) = shared.clone().try_lock_owned() {
                of.entry(upload.record.user.clone()).or_default().push((upload.active, shared));
            }
        }
        let most = of.into_iter().max_by_key(|(_, uploads)| uploads.len());
        let (owner, most) = most.unwrap_or_default();
        let oldest = most.into_iter().min_by_key(|(active, _)| *active).map(|(_, shared)| shared);
        let full = || Failure::says(Code::TooManyRequests, "too many uploads are not finished");
        let mut upload = oldest.ok_or_else(full)?.try_lock_owned().map_err(|_| full())?;
        if upload.gone {
            return Ok(());
        }
        let idle = SystemTime::now().duration_since(upload.active).unwrap_or_default();
        // Among one's own, those that may be written on count more than the next.
        if owner == user && idle < self.idle { Err(full()) } else { self.end(&mut upload).await }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Shared>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Nobody writes to it for now: who begins many must not have all the files that the server may open.
    pub(crate) fn rest(&mut self) {
        self.sink = None;
    }
}

impl Sink {
    fn open(disk: &Disk, id: Uuid, new: bool) -> io::Result<Sink> {
        let file = disk.append(&path(id), new)?;
        Ok(Sink { room: Room::on(&file)?, file })
    }
}

fn begin(disk: &Disk, id: Uuid, record: Record, algorithm: Algorithm) -> io::Result<Upload> {
    let opened = make(disk, id, &record);
    if opened.is_err() {
        // The failure before it is the one to tell.
        let _ = discard(disk, id);
    }
    let (sink, hash, active) = (Some(opened?), Some(Hash::new(algorithm)), SystemTime::now());
    Ok(Upload { id, record, sink, hash, length: 0, active, gone: false, held: None })
}

fn make(disk: &Disk, id: Uuid, record: &Record) -> io::Result<Sink> {
    let mut described = disk.append(&format!("{FOLDER}/{id}.json"), true)?;
    described.write_all(&serde_json::to_vec(record)?)?;
    Sink::open(disk, id, true)
}

fn load(disk: &Disk, id: Uuid) -> io::Result<Upload> {
    let record = serde_json::from_slice(&disk.small(&format!("{FOLDER}/{id}.json"))?)?;
    let file = disk.append(&path(id), false)?;
    let (length, active) = (length(&file)?, modified(&file)?);
    Ok(Upload { id, record, sink: None, hash: None, length, active, gone: false, held: None })
}

fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

fn discard(disk: &Disk, id: Uuid) -> io::Result<()> {
    disk.discard(&path(id))?;
    disk.discard(&format!("{FOLDER}/{id}.json"))
}

fn path(id: Uuid) -> String {
    format!("{FOLDER}/{id}")
}

async fn blocking<T: Send + 'static>(
    id: Uuid,
    attempt: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| Failure::from(Error::new(attempt, format!("upload {id}"), error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHM: Algorithm = Algorithm::Sha256;

    async fn begun(spool: &Spool, user: &str) -> Result<Uuid> {
        let name: Name = "a".parse().unwrap();
        let whose = Whose { name: &name, user, nameless: false };
        let mut upload = spool.start(whose, ALGORITHM).await?;
        upload.rest();
        Ok(upload.id)
    }

    #[tokio::test]
    async fn whoever_has_most_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(Disk::open(dir.path(), false).unwrap()).unwrap();
        (spool.most, spool.idle) = (5, Duration::ZERO);
        let modest = begun(&spool, "modest").await.unwrap();
        let first = begun(&spool, "greedy").await.unwrap();
        for _ in 0..7 {
            begun(&spool, "greedy").await.unwrap();
        }
        assert_eq!(spool.count(), 5);
        let name: Name = "a".parse().unwrap();
        assert!(spool.take(modest, &name, "modest").is_ok());
        assert!(spool.take(first, &name, "greedy").is_err());
        assert_eq!(spool.disk.files(FOLDER).unwrap().len(), 10);
        // Who has many himself waits; nobody else waits for him.
        spool.idle = Duration::from_secs(3600);
        let full = begun(&spool, "greedy").await.unwrap_err();
        assert_eq!(full.code, Code::TooManyRequests);
        begun(&spool, "modest").await.unwrap();
    }

    #[tokio::test]
    async fn what_came_in_pieces_is_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(Disk::open(dir.path(), false).unwrap()).unwrap();
        let (id, name) = (begun(&spool, "").await.unwrap(), "a".parse::<Name>().unwrap());
        for piece in [&b"one"[..], b"two"] {
            let mut upload = spool.take(id, &name, "").unwrap();
            spool.write(&mut upload, vec![Bytes::from_static(piece)]).await.unwrap();
            upload.rest();
            assert!(upload.sink.is_none() && upload.hash.is_some());
        }
        let mut upload = spool.take(id, &name, "").unwrap();
        assert_eq!(spool.finish(&mut upload, ALGORITHM).await.unwrap(), Digest::sha256(b"onetwo"));
    }
}
