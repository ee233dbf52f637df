//! Objects of a store that speaks S3, by the same keys.
//!
//! What is uploaded is spooled on disk first: its key is only known at its end, nothing that was not verified comes into the
//! bucket, and large objects go in parts side by side. Objects have no time that can be set, so what is relied on is remembered
//! here, and nothing is swept before this server has run for as long as the grace is; one server collects a bucket's garbage, or
//! while there is none, a process that keeps it from being served.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use registry::{Body as Sent, Bucket, BucketWanted, Kind};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::content::portion;
use super::parts::Notes;
use super::{Content, DOCUMENT_MAX, Disk, Error, Folder, Key, Stat};
use crate::answer::Body;

/// What of a spooled file is read at a time.
const PORTION: usize = 256 << 10;
/// How often is asked, and the first pause between.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Things that are remembered before old ones are looked for.
const MANY: usize = 10_000;

/// A bucket, from a prefix on.
#[derive(Clone)]
pub(crate) struct Objects {
    bucket: Bucket,
    prefix: String,
    spool: Disk,
    notes: Notes,
    started: Instant,
    /// Nobody else serves it, and so nobody relies on anything that has no name.
    alone: bool,
    touched: Arc<Mutex<HashMap<Key, SystemTime>>>,
    lock: Arc<RwLock<()>>,
}

/// Keeps a sweep away, or everybody else.
#[expect(dead_code, reason = "held and not looked at")]
pub(crate) enum Guard {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Objects {
    /// How long it is remembered that something was relied on; no grace is longer.
    pub(crate) const MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    pub(crate) fn new(bucket: Bucket, prefix: &str, spool: Disk, alone: bool) -> Objects {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (touched, lock) = (Arc::default(), Arc::default());
        let notes = Notes::new(spool.clone());
        Objects { bucket, prefix, spool, notes, started: Instant::now(), alone, touched, lock }
    }

    /// Whether the store lets us in, before anybody relies on that.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let wanted = BucketWanted { prefix: &self.prefix, ..BucketWanted::default() };
        let page = again(|| self.bucket.list(&wanted)).await;
        page.map(drop).map_err(|error| Error::new("list", "the bucket", error))
    }

    /// Ends what another run has begun and left.
    pub(super) async fn tidy(&self) -> Result<usize, Error> {
        self.notes.abort_left(&self.bucket).await
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{}", self.prefix, key.0)
    }

    pub(super) async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        let failed = |error| Error::new("fetch", &key.0, error);
        let name = self.name(key);
        match again(|| self.bucket.get(&name)).await.map_err(failed)? {
            Some(object) => object.bytes(DOCUMENT_MAX).await.map(Some).map_err(failed),
            None => Ok(None),
        }
    }

    pub(super) async fn write(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        let name = self.name(key);
        let sent = again(|| self.bucket.put(&name, bytes.len() as u64, bytes.clone().into())).await;
        sent.map_err(|error| Error::new("send", &key.0, error))?;
        self.remember(key);
        Ok(())
    }

    pub(super) async fn remove(&self, key: &Key) -> Result<bool, Error> {
        if self.stat(key).await?.is_none() {
            return Ok(false);
        }
        let name = self.name(key);
        let removed = again(|| self.bucket.delete(&name)).await;
        removed.map_err(|error| Error::new("remove", &key.0, error))?;
        Ok(true)
    }

    pub(super) async fn stat(&self, key: &Key) -> Result<Option<Stat>, Error> {
        let failed = |error| Error::new("look at", &key.0, error);
        let name = self.name(key);
        let head = again(|| self.bucket.look(&name)).await.map_err(failed)?;
        Ok(head.map(|head| {
            let modified = head.modified.as_deref().map(http_time);
            Stat { size: head.size, modified: self.relied_on(key, modified) }
        }))
    }

    pub(super) async fn touch(&self, key: &Key) -> Result<bool, Error> {
        let there = self.stat(key).await?.is_some();
        if there {
            self.remember(key);
        }
        Ok(there)
    }

    fn remember(&self, key: &Key) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        if touched.len() % MANY == MANY - 1 {
            touched.retain(|_, when| now.duration_since(*when).is_ok_and(|age| age < Objects::MEMORY));
        }
        touched.insert(key.clone(), now);
    }

    /// The later of what the store says and what is remembered. What says no time was relied on now.
    fn relied_on(&self, key: &Key, modified: Option<SystemTime>) -> SystemTime {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let modified = modified.unwrap_or_else(SystemTime::now);
        touched.get(key).map_or(modified, |touched| modified.max(*touched))
    }

    pub(super) async fn names(
        &self,
        folder: Folder<'_>,
        after: &str,
        most: usize,
    ) -> Result<Vec<String>, Error> {
        let mut names = match folder {
            // Its entries are folders, which a store gives in another order.
            Folder::Repositories => {
                let mut names = self.folders(&folder.path()).await?;
                names.retain(|name| name.as_str() > after);
                names.sort_unstable();
                names
            }
            _ => {
                let found = self.list(folder, after, most).await?;
                found.into_iter().map(|(name, _)| name).collect()
            }
        };
        names.truncate(most);
        Ok(names)
    }

    pub(super) async fn entries(&self, folder: Folder<'_>) -> Result<Vec<(String, Stat)>, Error> {
        let mut entries = self.list(folder, "", usize::MAX).await?;
        for (name, stat) in &mut entries {
            stat.modified = self.relied_on(&folder.key(name), Some(stat.modified));
        }
        Ok(entries)
    }

    /// What lies right in a folder, after a name and in order, at least so many where there are.
    async fn list(&self, folder: Folder<'_>, after: &str, most: usize) -> Result<Vec<(String, Stat)>, Error> {
        let path = folder.path();
        // The parts of blobs are no folders.
        let slash = if matches!(folder, Folder::Blobs(..)) { "" } else { "/" };
        let prefix = format!("{}{path}{slash}", self.prefix);
        let behind = if after.is_empty() { String::new() } else { format!("{prefix}{after}") };
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let wanted =
                BucketWanted { prefix: &prefix, folders: false, after: &behind, next: next.as_deref() };
            let page = again(|| self.bucket.list(&wanted)).await;
            let page = page.map_err(|error| Error::new("list", &path, error))?;
            for entry in page.entries {
                let Some((_, name)) = entry.key.rsplit_once('/') else { continue };
                let modified = entry.modified.parse::<jiff::Timestamp>().map(SystemTime::from);
                let modified = modified.unwrap_or_else(|_| SystemTime::now());
                found.push((name.to_owned(), Stat { size: entry.size, modified }));
            }
            next = page.next;
            if next.is_none() || found.len() >= most {
                return Ok(found);
            }
        }
    }

    async fn folders(&self, path: &str) -> Result<Vec<String>, Error> {
        let prefix = format!("{}{path}/", self.prefix);
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let wanted = BucketWanted { prefix: &prefix, folders: true, after: "", next: next.as_deref() };
            let page = again(|| self.bucket.list(&wanted)).await;
            let page = page.map_err(|error| Error::new("list", path, error))?;
            let names = page.folders.iter().filter_map(|folder| folder.strip_prefix(&prefix));
            found.extend(names.map(|name| name.trim_end_matches('/').to_owned()));
            next = page.next;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    pub(super) async fn has(&self, folder: Folder<'_>) -> Result<bool, Error> {
        let prefix = format!("{}{}/", self.prefix, folder.path());
        let wanted = BucketWanted { prefix: &prefix, ..BucketWanted::default() };
        let page = again(|| self.bucket.list(&wanted)).await;
        Ok(!page.map_err(|error| Error::new("list", prefix, error))?.entries.is_empty())
    }

    pub(super) async fn open_content(&self, key: &Key) -> Result<Option<Content>, Error> {
        let name = self.name(key);
        let head = again(|| self.bucket.look(&name)).await;
        let head = head.map_err(|error| Error::new("look at", &key.0, error))?;
        Ok(head.map(|head| Content::object(self.bucket.clone(), name, head.size)))
    }

    /// Sends a spooled file; it is removed with its upload.
    pub(super) async fn adopt(&self, spooled: &str, key: &Key) -> Result<(), Error> {
        let failed = |error: io::Error| Error::new("read", spooled, error);
        let file = Arc::new(self.spool.append(spooled, false).map_err(failed)?);
        let length = file.metadata().map_err(failed)?.len();
        let body = &|range: Range<u64>| Sent::wrap_stream(portions(file.clone(), range));
        let name = self.name(key);
        let failed = |error| Error::new("send", &key.0, error);
        match Bucket::goes_in_parts(length) {
            false => again(|| self.bucket.put(&name, length, body(0..length))).await.map_err(failed)?,
            true => {
                let begun = again(|| self.bucket.begin(&name)).await.map_err(failed)?;
                let note = self.notes.write(&begun).await?;
                let sent = again(|| self.bucket.send_parts(&begun, length, body)).await;
                if let Err(error) = sent {
                    // Where that fails as well, the note stays for later.
                    if self.bucket.abort(&begun).await.is_ok() {
                        self.notes.remove(note).await?;
                    }
                    return Err(failed(error));
                }
                self.notes.remove(note).await?;
            }
        }
        self.remember(key);
        Ok(())
    }

    pub(super) async fn hold(&self) -> Guard {
        Guard::Shared(self.lock.clone().read_owned().await)
    }

    pub(super) async fn hold_alone(&self) -> Guard {
        Guard::Alone(self.lock.clone().write_owned().await)
    }

    pub(super) fn remembers(&self, grace: Duration) -> bool {
        self.alone || grace <= Objects::MEMORY && self.started.elapsed() >= grace
    }
}

/// Asks again for what may be done twice, while the store is unwell.
async fn again<T, F>(work: impl Fn() -> F) -> Result<T, registry::Error>
where
    F: Future<Output = Result<T, registry::Error>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match work().await {
            Err(error) if error.kind() == Kind::Unavailable => tokio::time::sleep(pause).await,
            other => return other,
        }
        pause *= 3;
    }
    work().await
}

/// A part of a file in portions.
fn portions(
    file: Arc<std::fs::File>,
    range: Range<u64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(range), move |range| {
        let file = file.clone();
        async move {
            let range = range.filter(|range| range.start < range.end)?;
            let count = PORTION.min(usize::try_from(range.end - range.start).unwrap_or(PORTION));
            let at = range.start;
            let read = tokio::task::spawn_blocking(move || portion(&file, at, count)).await;
            match read.map_err(io::Error::other).flatten() {
                Ok(bytes) => Some((Ok(bytes.into()), Some(at + count as u64..range.end))),
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

/// An object's bytes, which are fetched when they are wanted.
pub(super) fn body(bucket: Bucket, key: String, range: Range<u64>) -> Body {
    let failed = |error: registry::Error| io::Error::other(error);
    let opening = async move {
        let object = bucket.get_part(&key, range).await.map_err(failed)?;
        object.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let frames = stream::once(opening).flat_map(move |opened| {
        stream::unfold(Some(opened), move |state| async move {
            let mut object = match state? {
                Ok(object) => object,
                Err(error) => return Some((Err(error), None)),
            };
            match object.chunk().await {
                Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(Ok(object)))),
                Ok(None) => None,
                Err(error) => Some((Err(failed(error)), None)),
            }
        })
    });
    StreamBody::new(frames).boxed_unsync()
}

/// `Wed, 21 Oct 2015 07:28:00 GMT`; what is none counts as now, so that nothing goes for it.
fn http_time(text: &str) -> SystemTime {
    let parsed = jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000"));
    parsed.map_or_else(|_| SystemTime::now(), |zoned| SystemTime::from(zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_headers() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        assert_eq!(http_time("Wed, 21 Oct 2015 07:28:00 GMT"), expected);
        assert!(http_time("nonsense") > expected);
    }
}
