//! The layers of a pull: each is fetched, kept, decompressed, hashed and unpacked in one pass over its bytes, as many side by
//! side as there are processors. What is whole waits in a [`Batch`] for the rest of the image: one wait for the disk does for all.
//!
//! What came of a layer before the connection or the process died is kept by the store: the next pull reads it as if it had
//! come just now, and fetches the rest. What somebody else fetches at the same time is waited for ([`wait`]).

mod wait;

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
use store::{Batch, Fetch, Partial, Store, Underway, Unpacked};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

pub use self::wait::Patience;
use self::wait::{Busy, Waited};
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

impl Need {
    fn of(batch: &Batch, layer: &Descriptor, diff_id: &Digest, chain: &ChainId) -> Result<Need> {
        let archive = batch.use_blob(&layer.digest)?.is_some();
        Ok(match batch.use_layer(chain)? {
            Some(known) if archive || (known.archive_size.is_some() && *diff_id == layer.digest) => {
                Need::Nothing
            }
            Some(_) => Need::Archive,
            None if archive => Need::Files,
            None => Need::Both,
        })
    }
}

impl Layers<'_> {
    /// Sees to it that all layers (lowest first) are here under their chain ids.
    pub async fn run(&self, layers: &[Descriptor], diff_ids: &[Digest]) -> Result<()> {
        let needs = self.needs(layers, diff_ids).await?;
        let side_by_side = std::thread::available_parallelism().map_or(AT_LEAST, usize::from);
        let permits = Arc::new(Semaphore::new(side_by_side.clamp(AT_LEAST, AT_MOST)));
        let (chains, busy) = (ChainId::all(diff_ids), Arc::<Busy>::default());
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
                chain: chains[index].clone(),
                permits: permits.clone(),
                patience: self.engine.config().patience,
                busy: busy.clone(),
            });
            let (need, repository, finished) = (*need, self.repository.clone(), finished.clone());
            tasks.spawn(async move {
                finished.send((index, work.run(&repository, need).await?)).ok();
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
                    needs.push(Need::of(&batch, layer, diff_id, &chain)?);
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
    chain: ChainId,
    permits: Arc<Semaphore>,
    patience: Patience,
    busy: Arc<Busy>,
}

/// What came of wanting a layer's archive.
enum Came {
    /// It is here, and unpacked if that was needed.
    Here(Option<Unpacked>),
    /// Somebody else has brought it meanwhile.
    Brought,
    /// Somebody else is bringing it.
    Underway(Underway),
}

/// Where a layer's archive is fetched to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where others find it, and maybe have begun with it.
    Common,
    /// Nobody else's.
    Own,
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
    /// Whoever waits for others has no turn meanwhile.
    async fn run(self: &Arc<Self>, repository: &Repository, mut need: Need) -> Result<Option<Unpacked>> {
        let mut place = Place::Common;
        loop {
            let share = self.busy.share();
            let turn = self.turn().await?;
            let underway = match need {
                Need::Nothing => return Ok(None),
                Need::Files => {
                    let work = self.clone();
                    let disk = tokio::task::spawn_blocking(move || work.unpack(turn));
                    return disk.await.during("unpack a layer")?.map(Some);
                }
                Need::Archive | Need::Both => match self.archive(repository, need, place, turn).await? {
                    Came::Here(unpacked) => return Ok(unpacked),
                    Came::Brought => None,
                    Came::Underway(underway) => Some(underway),
                },
            };
            drop(share);
            if let Some(underway) = underway {
                place = self.others(underway).await?;
            }
            let work = self.clone();
            let look = move || Need::of(&work.batch, &work.descriptor, &work.diff_id, &work.chain);
            need = tokio::task::spawn_blocking(look).await.during("look for a layer")??;
            if matches!(need, Need::Nothing | Need::Files) {
                self.tell("Download complete").await?;
            }
        }
    }

    async fn turn(&self) -> Result<Turn> {
        if let Ok(turn) = self.permits.clone().try_acquire_owned() {
            return Ok(turn);
        }
        self.tell("Waiting").await?;
        self.permits.clone().acquire_owned().await.during("wait for a turn")
    }

    /// Waits for what somebody else fetches; where it is to be fetched if it is not here then.
    async fn others(self: &Arc<Self>, underway: Underway) -> Result<Place> {
        match self.wait(underway).await? {
            Waited::Over => Ok(Place::Common),
            Waited::Stuck => Ok(Place::Own),
            Waited::Whole(underway) => {
                let work = self.clone();
                let copy = move || work.batch.add_copy(&underway, &work.descriptor.digest);
                match tokio::task::spawn_blocking(copy).await.during("copy a layer")? {
                    // What the other has may be another's, which he does not know yet.
                    Err(store::Error::Mismatch { .. }) => Ok(Place::Own),
                    copied => Ok(copied.map(|_| Place::Common)?),
                }
            }
        }
    }

    /// Fetches the archive, and once more if that may help. Lets the next one have its turn when only the disk is still to be
    /// waited for.
    async fn archive(
        self: &Arc<Self>,
        repository: &Repository,
        need: Need,
        place: Place,
        turn: Turn,
    ) -> Result<Came> {
        match self.attempt(repository, need, place, Some(turn)).await {
            Err(failure) if failure.again || failure.content && repository.give_up_mirrors(OTHER_CONTENT) => {
                self.attempt(repository, need, Place::Own, None).await.map_err(|failure| failure.error)
            }
            other => other.map_err(|failure| failure.error),
        }
    }

    /// Fetches what is not kept of an earlier attempt, or to a place of its own all of it.
    async fn attempt(
        self: &Arc<Self>,
        repository: &Repository,
        need: Need,
        place: Place,
        turn: Option<Turn>,
    ) -> Result<Came, Failure> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (tell, kept) = oneshot::channel();
        let work = self.clone();
        let disk = tokio::task::spawn_blocking(move || {
            let chunks = Chunks { receiver, chunk: Bytes::new(), ended: false, interrupted: false };
            let partial = match work.place(place)? {
                Ok(partial) => partial,
                Err(came) => return Ok(came),
            };
            work.consume(chunks, need, partial, tell, turn)
        });
        // If it isn't opened the disk says why.
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

    /// Where the archive is to be kept, or why it needn't be fetched.
    fn place(&self, place: Place) -> Result<Result<Partial<'_>, Came>> {
        let (lease, digest) = (self.batch.lease(), &self.descriptor.digest);
        if place == Place::Own {
            return Ok(Ok(self.store.fetch_anew(lease, digest)?));
        }
        Ok(match self.store.fetch(lease, digest)? {
            // From here on nobody else brings it.
            Fetch::Ours(_) if self.batch.use_blob(digest)?.is_some() => Err(Came::Brought),
            Fetch::Ours(partial) => Ok(partial),
            Fetch::Theirs(underway) => Err(Came::Underway(underway)),
        })
    }

    /// Keeps the archive and, on the way, unpacks it if that is needed.
    fn consume(
        &self,
        chunks: Chunks,
        need: Need,
        partial: Partial<'_>,
        tell: oneshot::Sender<u64>,
        turn: Option<Turn>,
    ) -> Result<Came, Failure> {
        let kept = partial.kept();
        let kept = if kept > self.descriptor.size { 0 } else { kept };
        tell.send(kept).ok();
        let mut tee = Tee { left: kept, chunks, partial, batch: &self.batch, failed: false };
        let outcome = self.pass(&mut tee, need);
        drop(turn);
        let interrupted = tee.chunks.interrupted || self.report.is_closed();
        let outcome = match outcome {
            Ok(unpacked) => {
                self.batch.add_partial(tee.partial).map(|_| Came::Here(unpacked)).map_err(Error::from)
            }
            Err(error) => {
                if interrupted {
                    tee.partial.keep();
                }
                Err(error)
            }
        };
        outcome.map_err(|error| Failure { error, again: kept > 0 && !interrupted, content: !interrupted })
    }

    fn pass(&self, tee: &mut Tee<'_>, need: Need) -> Result<Option<Unpacked>> {
        let unpacked = match need {
            Need::Archive => None,
            _ => match self.store.unpack(self.batch.lease(), &mut *tee) {
                Ok(unpacked) => Some(unpacked),
                Err(error) => return Err(blamed(tee, error)),
            },
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

    /// Unpacks the archive that is here.
    fn unpack(&self, _turn: Turn) -> Result<Unpacked> {
        let archive = self.batch.open_blob(&self.descriptor.digest)?;
        let unpacked = self.store.unpack(self.batch.lease(), archive)?;
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

/// Why an archive can't be unpacked: where it is not the one that was asked for, that comes first.
fn blamed(tee: &mut Tee<'_>, error: store::Error) -> Error {
    let is_whole = matches!(error, store::Error::Archive { .. } | store::Error::Mismatch { .. })
        && !tee.failed
        && io::copy(tee, &mut io::sink()).is_ok();
    match tee.partial.verify() {
        Err(other) if is_whole => wrong(other),
        _ => error.into(),
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
    /// Something could not be read or kept: what was compared with the digest is not all that came.
    failed: bool,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.advance(buffer).inspect_err(|_| self.failed = true)
    }
}

impl Tee<'_> {
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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
