//! A blob that is on its way here, and those who read it meanwhile.
//!
//! It is written to the spool, and read from there by everybody who asked for it. The last byte is given only when the digest
//! is right, so nobody ever has the whole of something wrong.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use oci::Digest;
use oci::image::Descriptor;
use tokio::sync::watch;

use super::Cache;
use crate::answer::{Body, Result};
use crate::error::{Failure, chain};
use crate::name::Name;
use crate::registry::Registry;
use crate::spool::{Upload, Whose};
use crate::storage::content::portion;
use crate::storage::{Algorithm, Key};

/// What is read at a time.
const PORTION: u64 = 128 << 10;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Bytes that have come.
    Coming(u64),
    /// All, and they are right.
    Here,
    Failed,
}

pub(crate) struct Filling {
    file: Arc<File>,
    size: u64,
    progress: watch::Receiver<Progress>,
}

impl Filling {
    /// Bytes that it will have.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// These bytes, as they come.
    pub(crate) fn body(&self, range: Range<u64>) -> Body {
        let state = (self.file.clone(), self.progress.clone(), range.start);
        let (size, end) = (self.size, range.end);
        let portions = stream::unfold(Some(state), move |state| async move {
            let (file, mut progress, at) = state?;
            if at >= end {
                return None;
            }
            match next(&file, &mut progress, at..end, size).await {
                Ok(bytes) => {
                    let next = at + bytes.len() as u64;
                    Some((Ok(Frame::data(bytes)), Some((file, progress, next))))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        StreamBody::new(portions).boxed_unsync()
    }
}

/// The next bytes of a range, when there are some.
async fn next(
    file: &Arc<File>,
    progress: &mut watch::Receiver<Progress>,
    range: Range<u64>,
    size: u64,
) -> io::Result<Bytes> {
    let readable = |progress: Progress| match progress {
        Progress::Coming(bytes) => bytes.min(size.saturating_sub(1)),
        Progress::Here => size,
        Progress::Failed => 0,
    };
    let enough = |now: &Progress| *now == Progress::Failed || readable(*now) > range.start;
    let now = *progress.wait_for(enough).await.map_err(io::Error::other)?;
    if now == Progress::Failed {
        return Err(io::Error::other("the upstream registry did not send it all"));
    }
    let end = readable(now).min(range.end).min(range.start + PORTION);
    let (file, at) = (file.clone(), range.start);
    let read = tokio::task::spawn_blocking(move || portion(&file, at, (end - at) as usize)).await;
    Ok(read.map_err(io::Error::other).flatten()?.into())
}

impl Registry {
    /// Has a blob fetched, unless it is on its way already; none if it came meanwhile.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        name: &Name,
        descriptor: &Descriptor,
    ) -> Result<Option<Arc<Filling>>> {
        let Some(cache) = &self.cache else { return Ok(None) };
        let mut fillings = cache.fillings.lock().await;
        if let Some(filling) = fillings.get(&descriptor.digest) {
            return Ok(Some(filling.clone()));
        }
        if self.storage.stat(&Key::blob(&descriptor.digest)).await?.is_some() {
            return Ok(None);
        }
        self.metrics.misses.fetch_add(1, Ordering::Relaxed);
        let whose = Whose { name, user: "", nameless: true };
        let mut upload = self.spool.start(whose, Algorithm::of(&descriptor.digest)).await?;
        let opened = self.spool.reader(&upload);
        let file = Arc::new(opened.map_err(|error| Failure::internal(&error))?);
        let (sender, progress) = watch::channel(Progress::Coming(0));
        let filling = Arc::new(Filling { file, size: descriptor.size, progress });
        fillings.insert(descriptor.digest.clone(), filling.clone());
        let (registry, name, descriptor) = (self.clone(), name.clone(), descriptor.clone());
        tokio::spawn(async move {
            let Some(cache) = &registry.cache else { return };
            let done = registry.fetch_blob(cache, &name, &descriptor, &mut upload, &sender).await;
            // Whoever comes from now on finds it in the storage, or tries again.
            cache.fillings.lock().await.remove(&descriptor.digest);
            if let Err(failure) = &done {
                tracing::warn!(%name, digest = %descriptor.digest, message = failure.message, "fetch a blob");
                let _ = registry.spool.end(&mut upload).await;
                if failure.is_full() {
                    cache.full();
                }
            }
            sender.send_replace(if done.is_ok() { Progress::Here } else { Progress::Failed });
        });
        Ok(Some(filling))
    }

    async fn fetch_blob(
        &self,
        cache: &Cache,
        name: &Name,
        descriptor: &Descriptor,
        upload: &mut Upload,
        progress: &watch::Sender<Progress>,
    ) -> Result<()> {
        let broken = |error: registry::Error| {
            tracing::debug!(error = %chain(&error), "upstream blob");
            super::told(&error)
        };
        let mut blob = cache.repository(name).blob(descriptor);
        while let Some(bytes) = blob.chunk().await.map_err(broken)? {
            self.spool.write(upload, vec![bytes]).await?;
            progress.send_replace(Progress::Coming(upload.length));
        }
        self.spool.finish(upload, Algorithm::of(&descriptor.digest)).await?;
        self.place(name, upload, &descriptor.digest).await?;
        cache.grown(upload.length);
        self.spool.end(upload).await
    }

    /// Makes a blob that the storage has one of the repository's, if a manifest of it names it.
    pub(crate) async fn adopt_blob(&self, name: &Name, digest: &Digest) -> Result<Option<u64>> {
        let _hold = self.storage.hold().await?;
        let Some(stat) = self.storage.stat(&Key::blob(digest)).await? else { return Ok(None) };
        self.link(name, digest, stat.size, false).await?;
        Ok(Some(stat.size))
    }
}
