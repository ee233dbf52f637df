//! The layers of a pull: each is fetched, kept, decompressed, hashed and unpacked in one pass over its bytes, as many side by
//! side as there are processors. What is whole waits in a [`Batch`] for the rest of the image: one wait for the disk does for all.
//!
//! What came of a layer before the connection or the process died is kept by the store: the next pull reads it as if it had
//! come just now, and fetches the rest.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::JsonMessage;
use api::common::Progress;
use bytes::Bytes;
use oci::image::Descriptor;
use oci::{ChainId, Digest};
use registry::{Blob, Repository};
use store::{Batch, Partial, Store, Unpacked};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::pull::registry_error;
use super::report::{self, Report};
use crate::Engine;
use crate::error::{Context as _, Error, Result};

/// Layers that are fetched at the same time: at least as many as Docker does, at most as many as have a connection.
const AT_LEAST: usize = 3;
const AT_MOST: usize = 6;
/// Chunks that may wait between the network and the disk.
const WAITING: usize = 64;
/// What is told of a mirror that gave something else than it was asked for.
const OTHER_CONTENT: &str = "what it gave is not the layer that it was asked for";
/// How often a layer tells how far it is.
const EVERY: Duration = Duration::from_millis(100);

/// What all layers of a pull share.
pub(super) struct Layers<'a> {
    pub engine: &'a Engine,
    pub batch: &'a Arc<Batch>,
    pub repository: &'a Repository,
    pub report: &'a Report,
}

/// What has to be done for a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// All of it is here.
    Nothing,
    /// Its files are here, its archive isn't: without it the image can't be saved as it came.
    Archive,
    /// Its archive is here, its files aren't.
    Files,
    /// Neither is.
    Both,
}

impl Layers<'_> {
    /// Sees to it that all layers (lowest first) are here under their chain ids.
    pub async fn run(&self, layers: &[Descriptor], diff_ids: &[Digest]) -> Result<()> {
        let needs = self.needs(layers, diff_ids).await?;
        let side_by_side = std::thread::available_parallelism().map_or(AT_LEAST, usize::from);
        let permits = Arc::new(Semaphore::new(side_by_side.clamp(AT_LEAST, AT_MOST)));
        let already = needs.iter().map(|need| *need == Need::Nothing).collect();
        let (finished, publisher) = self.publisher(layers, diff_ids, already);
        // Dropping the set stops what is under way: so does the client by going away.
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        for (index, (layer, need)) in layers.iter().zip(&needs).enumerate() {
            let id = layer.digest.short();
            if *need == Need::Nothing {
                self.report.send(JsonMessage::part(id, "Already exists", Progress::default())).await?;
                finished.send((index, None)).ok();
                continue;
            }
            self.report.send(JsonMessage::part(id, "Pulling fs layer", Progress::default())).await?;
            let work = Arc::new(Work {
                store: self.engine.store().clone(),
                batch: self.batch.clone(),
                report: self.report.clone(),
                descriptor: layer.clone(),
                diff_id: diff_ids[index].clone(),
                need: *need,
            });
            let (permits, repository, finished) =
                (permits.clone(), self.repository.clone(), finished.clone());
            tasks.spawn(async move {
                let permit = permits.clone().try_acquire_owned();
                if permit.is_err() {
                    work.tell("Waiting").await?;
                }
                let turn = match permit {
                    Ok(turn) => turn,
                    Err(_) => permits.acquire_owned().await.during("wait for a turn")?,
                };
                finished.send((index, work.run(&repository, turn).await?)).ok();
                Ok(())
            });
        }
        drop(finished);
        while let Some(done) = tasks.join_next().await {
            done.during("pull a layer")??;
        }
        publisher.await.during("name the layers")?
    }

    /// Takes layers as they come, by their number, and puts one on the other, lowest first. One that is here already comes as
    /// none.
    fn publisher(
        &self,
        layers: &[Descriptor],
        diff_ids: &[Digest],
        already: Vec<bool>,
    ) -> (mpsc::UnboundedSender<Finished>, tokio::task::JoinHandle<Result<()>>) {
        let (sender, mut finished) = mpsc::unbounded_channel::<Finished>();
        let (batch, report) = (self.batch.clone(), self.report.clone());
        let (layers, diff_ids) = (layers.to_vec(), diff_ids.to_vec());
        let publisher = tokio::task::spawn_blocking(move || {
            let mut early = BTreeMap::new();
            let mut parent: Option<ChainId> = None;
            for (index, (layer, diff_id)) in layers.iter().zip(&diff_ids).enumerate() {
                while !early.contains_key(&index) {
                    // Without all of them something has gone wrong, which is told elsewhere.
                    let Some((other, unpacked)) = finished.blocking_recv() else { return Ok(()) };
                    early.insert(other, unpacked);
                }
                if let Some(unpacked) = early.remove(&index).flatten() {
                    batch.add_layer(parent.as_ref(), unpacked)?;
                }
                parent = Some(ChainId::on(parent.as_ref(), diff_id));
                if !already[index] {
                    report.line(JsonMessage::part(
                        layer.digest.short(),
                        "Pull complete",
                        Progress::default(),
                    ))?;
                }
            }
            Ok(())
        });
        (sender, publisher)
    }

    async fn needs(&self, layers: &[Descriptor], diff_ids: &[Digest]) -> Result<Vec<Need>> {
        let (batch, layers, diff_ids) = (self.batch.clone(), layers.to_vec(), diff_ids.to_vec());
        self.engine
            .blocking(move |_| {
                let mut needs = Vec::new();
                for ((layer, diff_id), chain) in layers.iter().zip(&diff_ids).zip(ChainId::all(&diff_ids)) {
                    let archive = batch.use_blob(&layer.digest)?.is_some();
                    needs.push(match batch.use_layer(&chain)? {
                        Some(known)
                            if archive || (known.archive_size.is_some() && *diff_id == layer.digest) =>
                        {
                            Need::Nothing
                        }
                        Some(_) => Need::Archive,
                        None if archive => Need::Files,
                        None => Need::Both,
                    });
                }
                Ok(needs)
            })
            .await
    }
}

/// Leave to be one of those that are side by side.
type Turn = OwnedSemaphorePermit;

/// A layer by its number, unpacked unless its files were here.
type Finished = (usize, Option<Unpacked>);

/// One layer's work.
struct Work {
    store: Store,
    batch: Arc<Batch>,
    report: Report,
    descriptor: Descriptor,
    diff_id: Digest,
    need: Need,
}

/// Why a layer did not come.
struct Failure {
    error: Error,
    /// Whether what was kept of an earlier attempt may be to blame.
    again: bool,
    /// Whether it may be what came, and not that it did not come.
    content: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, again: false, content: false }
    }
}

impl Work {
    /// Lets the next one have its turn when only the disk is still to be waited for.
    async fn run(self: &Arc<Self>, repository: &Repository, turn: Turn) -> Result<Option<Unpacked>> {
        if self.need == Need::Files {
            let work = self.clone();
            let disk = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let file = work.batch.open_blob(&work.descriptor.digest)?;
                work.unpack(file).map(Some)
            });
            return disk.await.during("unpack a layer")?;
        }
        match self.attempt(repository, false, Some(turn)).await {
            Err(failure) if failure.again || failure.content && repository.give_up_mirrors(OTHER_CONTENT) => {
                self.attempt(repository, true, None).await.map_err(|failure| failure.error)
            }
            other => other.map_err(|failure| failure.error),
        }
    }

    /// Fetches what is not kept of an earlier attempt, or with `anew` all of it.
    async fn attempt(
        self: &Arc<Self>,
        repository: &Repository,
        anew: bool,
        turn: Option<Turn>,
    ) -> Result<Option<Unpacked>, Failure> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (tell, kept) = oneshot::channel();
        let work = self.clone();
        let disk = tokio::task::spawn_blocking(move || {
            let chunks = Chunks { receiver, chunk: Bytes::new(), ended: false, interrupted: false };
            work.consume(chunks, anew, tell, turn)
        });
        // If it can't be opened the disk says why.
        let fetched = match kept.await {
            Ok(kept) => {
                let (report, id) = (self.report.clone(), self.descriptor.digest.short().to_owned());
                let blob = repository.blob(&self.descriptor).rest(kept).tell_waits(move |wait| {
                    report.hint(JsonMessage::part(&id, retrying(wait), Progress::default()));
                });
                self.fetch(blob, sender).await
            }
            Err(_) => Ok(()),
        };
        let kept = disk.await.during("keep a layer")?;
        // The network's reason comes first: the disk has then seen only that the stream broke.
        fetched?;
        kept
    }

    /// Keeps the archive and, on the way, unpacks it if that is needed.
    fn consume(
        &self,
        chunks: Chunks,
        anew: bool,
        tell: oneshot::Sender<u64>,
        turn: Option<Turn>,
    ) -> Result<Option<Unpacked>, Failure> {
        let digest = &self.descriptor.digest;
        let partial = match anew {
            true => self.store.fetch_anew(self.batch.lease(), digest),
            false => self.store.fetch(self.batch.lease(), digest),
        }
        .map_err(Error::from)?;
        let kept = partial.kept();
        let kept = if kept > self.descriptor.size { 0 } else { kept };
        tell.send(kept).ok();
        let mut tee = Tee { left: kept, chunks, partial, batch: &self.batch };
        let outcome = self.pass(&mut tee);
        drop(turn);
        let interrupted = tee.chunks.interrupted || self.report.is_closed();
        let outcome = match outcome {
            Ok(unpacked) => self.batch.add_partial(tee.partial).map(|_| unpacked).map_err(Error::from),
            Err(error) => {
                if interrupted {
                    tee.partial.keep();
                }
                Err(error)
            }
        };
        outcome.map_err(|error| Failure { error, again: kept > 0 && !interrupted, content: !interrupted })
    }

    fn pass(&self, tee: &mut Tee<'_>) -> Result<Option<Unpacked>> {
        let unpacked = match self.need {
            Need::Archive => None,
            _ => Some(self.store.unpack(self.batch.lease(), &mut *tee)?),
        };
        // A decompressor may leave what stands behind the end of its format.
        io::copy(tee, &mut io::sink()).during("fetch a layer")?;
        // What is another's is told so, whatever it would have unpacked to.
        tee.partial.verify().map_err(wrong)?;
        if let Some(unpacked) = &unpacked {
            self.expect(unpacked)?;
        }
        Ok(unpacked)
    }

    fn unpack(&self, source: impl Read + Send) -> Result<Unpacked> {
        let unpacked = self.store.unpack(self.batch.lease(), source)?;
        self.expect(&unpacked)?;
        Ok(unpacked)
    }

    fn expect(&self, unpacked: &Unpacked) -> Result<()> {
        unpacked.expect(Some(&self.diff_id))?;
        self.store.note_archive(&self.descriptor.digest, &self.diff_id);
        Ok(())
    }

    /// Moves a blob's bytes from the network to the disk, which compares them with its digest.
    async fn fetch(&self, mut blob: Blob, sender: mpsc::Sender<io::Result<Bytes>>) -> Result<()> {
        let id = self.descriptor.digest.short();
        let mut told: Option<Instant> = None;
        loop {
            match blob.chunk().await {
                Ok(Some(chunk)) => {
                    if sender.send(Ok(chunk)).await.is_err() {
                        // The disk has a reason of its own and tells it.
                        return Ok(());
                    }
                    if told.is_none_or(|at| at.elapsed() >= EVERY) {
                        told = Some(Instant::now());
                        let progress = report::bytes(blob.received(), blob.size());
                        self.report.hint(JsonMessage::part(id, "Downloading", progress));
                    }
                }
                // The empty chunk says that nothing is missing.
                Ok(None) => {
                    sender.send(Ok(Bytes::new())).await.ok();
                    break;
                }
                Err(error) => {
                    let kind = match passes(&error) {
                        true => io::ErrorKind::ConnectionAborted,
                        false => io::ErrorKind::Other,
                    };
                    let text = crate::error::chain(&error);
                    sender.send(Err(io::Error::new(kind, text))).await.ok();
                    return Err(registry_error(error));
                }
            }
        }
        self.tell("Verifying Checksum").await?;
        self.tell("Download complete").await?;
        self.report.send(JsonMessage::part(id, "Extracting", report::bytes(blob.size(), blob.size()))).await
    }

    async fn tell(&self, status: &str) -> Result<()> {
        self.report.send(JsonMessage::part(self.descriptor.digest.short(), status, Progress::default())).await
    }
}

/// Whether what came until then is worth keeping: a registry that ends early in good order has no more.
fn passes(error: &registry::Error) -> bool {
    match error.bare() {
        registry::Error::Broken { source, .. } => matches!(**source, registry::Error::Transport { .. }),
        error => error.kind() == registry::Kind::Unavailable,
    }
}

/// Docker's words for a wait before the next attempt.
fn retrying(wait: Duration) -> String {
    match wait.as_secs_f64().ceil() {
        1.0 => "Retrying in 1 second".to_owned(),
        seconds => format!("Retrying in {seconds} seconds"),
    }
}

/// What a registry gave under a digest that is another's.
fn wrong(error: store::Error) -> Error {
    match error {
        store::Error::Mismatch { expected, found, .. } => {
            registry_error(registry::Error::WrongDigest { expected, found })
        }
        error => error.into(),
    }
}

/// Chunks from the network as a reader. An empty chunk is the end; a channel that is dropped before it came belongs to
/// a pull that was given up, and what was read until then is a part of something.
struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    ended: bool,
    /// It broke for a reason that may pass.
    interrupted: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    self.interrupted = error.kind() == io::ErrorKind::ConnectionAborted;
                    return Err(error);
                }
                None => {
                    self.interrupted = true;
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was given up"));
                }
            }
            self.ended = self.chunk.is_empty();
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

/// A reader of what was kept of a blob and of what comes, which is kept too.
struct Tee<'l> {
    /// Bytes of what was kept that are still to be read.
    left: u64,
    chunks: Chunks,
    partial: Partial<'l>,
    batch: &'l Batch,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left > 0 {
            let count = self.partial.read(buffer)?;
            self.left = if count == 0 { 0 } else { self.left - count as u64 };
            return Ok(count);
        }
        let count = self.chunks.read(buffer)?;
        self.partial.write_all(&buffer[..count])?;
        self.batch.wrote(count as u64);
        Ok(count)
    }
}
