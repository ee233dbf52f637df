//! The layers of a pull: each is fetched, kept, decompressed, hashed and unpacked in one pass over its bytes, several
//! side by side; then they get their names, lowest first.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::JsonMessage;
use api::common::Progress;
use bytes::Bytes;
use oci::image::Descriptor;
use oci::{ChainId, Digest};
use registry::{Blob, Repository};
use store::{BlobWriter, Lease, Store, Unpacked};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::report::{self, Report};
use crate::Engine;
use crate::error::{Context as _, Error, Result};

/// Layers that are fetched at the same time, as many as Docker does.
const CONCURRENT: usize = 3;
/// Chunks that may wait between the network and the disk.
const WAITING: usize = 64;
/// How often a layer tells how far it is.
const EVERY: Duration = Duration::from_millis(100);

/// What all layers of a pull share.
pub(super) struct Layers<'a> {
    pub engine: &'a Engine,
    pub lease: &'a Arc<Lease>,
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
        let permits = Arc::new(Semaphore::new(CONCURRENT));
        // Dropping the set stops what is under way: so does the client by going away.
        let mut tasks: JoinSet<Result<(usize, Option<Unpacked>)>> = JoinSet::new();
        for (index, (layer, need)) in layers.iter().zip(&needs).enumerate() {
            let id = layer.digest.short();
            if *need == Need::Nothing {
                self.report.send(JsonMessage::part(id, "Already exists", Progress::default())).await?;
                continue;
            }
            self.report.send(JsonMessage::part(id, "Pulling fs layer", Progress::default())).await?;
            let work = Work {
                store: self.engine.store().clone(),
                lease: self.lease.clone(),
                report: self.report.clone(),
                descriptor: layer.clone(),
                diff_id: diff_ids[index].clone(),
                need: *need,
            };
            let (permits, blob) = (permits.clone(), self.repository.blob(layer));
            tasks.spawn(async move {
                let _permit = permits.acquire_owned().await.map_err(|e| Error::system(e.to_string()))?;
                Ok((index, work.run(blob).await?))
            });
        }
        let mut unpacked: Vec<Option<Unpacked>> = layers.iter().map(|_| None).collect();
        while let Some(done) = tasks.join_next().await {
            let (index, layer) = done.during("pull a layer")??;
            unpacked[index] = layer;
        }
        self.publish(layers, diff_ids, unpacked).await
    }

    async fn needs(&self, layers: &[Descriptor], diff_ids: &[Digest]) -> Result<Vec<Need>> {
        let (lease, layers, diff_ids) = (self.lease.clone(), layers.to_vec(), diff_ids.to_vec());
        self.engine
            .blocking(move |engine| {
                let store = engine.store();
                let mut needs = Vec::new();
                for ((layer, diff_id), chain) in layers.iter().zip(&diff_ids).zip(ChainId::all(&diff_ids)) {
                    let archive = store.use_blob(&lease, &layer.digest)?.is_some();
                    needs.push(match store.use_layer(&lease, &chain)? {
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

    async fn publish(
        &self,
        layers: &[Descriptor],
        diff_ids: &[Digest],
        unpacked: Vec<Option<Unpacked>>,
    ) -> Result<()> {
        let (lease, report) = (self.lease.clone(), self.report.clone());
        let (layers, diff_ids) = (layers.to_vec(), diff_ids.to_vec());
        self.engine
            .blocking(move |engine| {
                let mut parent: Option<ChainId> = None;
                for ((layer, diff_id), unpacked) in layers.iter().zip(&diff_ids).zip(unpacked) {
                    if let Some(unpacked) = unpacked {
                        engine.store().publish(&lease, parent.as_ref(), unpacked)?;
                        report.line(JsonMessage::part(
                            layer.digest.short(),
                            "Pull complete",
                            Progress::default(),
                        ))?;
                    }
                    parent = Some(ChainId::on(parent.as_ref(), diff_id));
                }
                Ok(())
            })
            .await
    }
}

/// One layer's work.
struct Work {
    store: Store,
    lease: Arc<Lease>,
    report: Report,
    descriptor: Descriptor,
    diff_id: Digest,
    need: Need,
}

impl Work {
    async fn run(self, blob: Blob) -> Result<Option<Unpacked>> {
        if self.need == Need::Files {
            let disk = tokio::task::spawn_blocking(move || {
                let file = self.store.open_blob(&self.descriptor.digest)?;
                self.unpack(file).map(Some)
            });
            return disk.await.during("unpack a layer")?;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        let (report, descriptor) = (self.report.clone(), self.descriptor.clone());
        let disk = tokio::task::spawn_blocking(move || {
            self.consume(Chunks { receiver, chunk: Bytes::new(), ended: false })
        });
        let fetched = fetch(blob, &descriptor, &report, sender).await;
        let kept = disk.await.during("keep a layer")?;
        // The network's reason comes first: the disk has then seen only that the stream broke.
        fetched?;
        kept
    }

    /// Keeps the archive and, on the way, unpacks it if that is needed.
    fn consume(&self, chunks: Chunks) -> Result<Option<Unpacked>> {
        let mut tee = Tee { chunks, writer: self.store.ingest_checked(&self.lease)? };
        let unpacked = match self.need {
            Need::Archive => None,
            _ => Some(self.unpack(&mut tee)?),
        };
        // A decompressor may leave what stands behind the end of its format.
        io::copy(&mut tee, &mut io::sink()).during("fetch a layer")?;
        tee.writer.commit(Some(&self.descriptor.digest))?;
        Ok(unpacked)
    }

    fn unpack(&self, source: impl Read + Send) -> Result<Unpacked> {
        let unpacked = self.store.unpack(&self.lease, source)?;
        unpacked.expect(Some(&self.diff_id))?;
        Ok(unpacked)
    }
}

/// Moves a blob's bytes from the network to the disk. The end is passed on only when the digest was right.
async fn fetch(
    mut blob: Blob,
    descriptor: &Descriptor,
    report: &Report,
    sender: mpsc::Sender<io::Result<Bytes>>,
) -> Result<()> {
    let id = descriptor.digest.short();
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
                    report.hint(JsonMessage::part(id, "Downloading", progress));
                }
            }
            // Only now are the bytes what they were to be: the empty chunk says so.
            Ok(None) => {
                sender.send(Ok(Bytes::new())).await.ok();
                break;
            }
            Err(error) => {
                let text = crate::error::chain(&error);
                sender.send(Err(io::Error::other(text))).await.ok();
                return Err(super::pull::registry_error(error));
            }
        }
    }
    report.send(JsonMessage::part(id, "Verifying Checksum", Progress::default())).await?;
    report.send(JsonMessage::part(id, "Download complete", Progress::default())).await?;
    report.send(JsonMessage::part(id, "Extracting", report::bytes(blob.size(), blob.size()))).await
}

/// Chunks from the network as a reader. An empty chunk is the end; a channel that is dropped before it came belongs to
/// a pull that was given up, and what was read until then is a part of something.
struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => {
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

/// A reader that writes what it reads into a blob.
struct Tee<'l> {
    chunks: Chunks,
    writer: BlobWriter<'l>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.chunks.read(buffer)?;
        self.writer.write_all(&buffer[..count])?;
        Ok(count)
    }
}
