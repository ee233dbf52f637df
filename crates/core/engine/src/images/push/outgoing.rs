//! Blobs on their way out: files, and layers that are compressed as they go.

use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use api::JsonMessage;
use archive::HashingWriter;
use bytes::Bytes;
use futures_util::StreamExt as _;
use oci::Digest;
use registry::{Body, Outgoing};
use store::Layer;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::cargo::{Cargo, Item};
use crate::error::{Error, Result};
use crate::images::pull::registry_error;
use crate::images::report::{self, Report};

/// Bytes that are read from a file at once.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait between the compressor and the network.
const WAITING: usize = 16;

/// Says how far a blob is.
#[derive(Clone)]
struct Tally {
    report: Report,
    name: String,
    /// Of how many bytes; of nobody knows how many, as many as there are uncompressed.
    total: u64,
}

impl Tally {
    fn new(item: &Item, total: u64, report: &Report) -> Tally {
        Tally { report: report.clone(), name: item.name.clone(), total }
    }

    fn tell(&self, sent: u64) {
        if !self.name.is_empty() {
            let progress = report::bytes(sent, self.total);
            self.report.hint(JsonMessage::part(&self.name, "Pushing", progress));
        }
    }
}

/// A blob that is a file.
pub(super) struct File {
    file: std::fs::File,
    digest: Digest,
    length: u64,
    tally: Tally,
}

impl File {
    pub fn new(file: std::fs::File, item: &Item, report: &Report) -> File {
        let (digest, length) = (item.found.digest.clone(), item.found.size);
        File { file, digest, length, tally: Tally::new(item, length, report) }
    }
}

impl Outgoing for File {
    fn length(&self) -> Option<u64> {
        Some(self.length)
    }

    fn open(&self, from: u64) -> Body {
        // One body is read at a time: they may share the place where it is read.
        let file = self.file.as_fd().try_clone_to_owned().map(std::fs::File::from).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        });
        let (tally, mut sent) = (self.tally.clone(), from);
        match file {
            Ok(file) => {
                let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
                Body::wrap_stream(stream.map(move |chunk: io::Result<Bytes>| {
                    sent += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                    tally.tell(sent);
                    chunk
                }))
            }
            Err(error) => Body::wrap_stream(futures_util::stream::iter([Err::<Bytes, _>(error)])),
        }
    }

    fn digest(&self) -> Option<Digest> {
        Some(self.digest.clone())
    }

    fn failed(&self) -> bool {
        false
    }
}

/// A layer that is compressed as it goes. It always becomes the same bytes: where a connection breaks it is compressed once more,
/// and what the registry has is left out.
pub(super) struct Packing {
    cargo: Arc<Cargo>,
    found: oci::image::Descriptor,
    layer: Box<Layer>,
    tally: Tally,
    /// Of the last time.
    state: Mutex<Arc<Mutex<State>>>,
}

/// How far the compressor is.
#[derive(Default)]
enum State {
    #[default]
    UnderWay,
    Done(Digest, u64),
    Failed(Error),
}

impl Packing {
    pub fn new(cargo: &Arc<Cargo>, item: &Item, layer: Box<Layer>, report: &Report) -> Packing {
        let tally = Tally::new(item, layer.size, report);
        Packing { cargo: cargo.clone(), found: item.found.clone(), layer, tally, state: Mutex::default() }
    }

    fn state(&self) -> Arc<Mutex<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it became, or why it did not: its own reason comes first, for the network has only seen that nothing came.
    pub fn outcome(&self, sent: Result<Digest, registry::Error>) -> Result<(Digest, u64)> {
        let state = self.state();
        match std::mem::take(&mut *state.lock().unwrap_or_else(PoisonError::into_inner)) {
            State::Failed(error) => Err(error),
            State::Done(digest, length) => sent.map(|_| (digest, length)).map_err(registry_error),
            State::UnderWay => match sent {
                Err(error) => Err(registry_error(error)),
                Ok(digest) => Err(Error::system(format!("{digest} was sent before it was compressed"))),
            },
        }
    }
}

impl Outgoing for Packing {
    fn length(&self) -> Option<u64> {
        None
    }

    fn open(&self, from: u64) -> Body {
        let (sender, chunks) = mpsc::channel::<io::Result<Bytes>>(WAITING);
        let state = Arc::new(Mutex::new(State::UnderWay));
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
        let (cargo, layer, found) = (self.cargo.clone(), self.layer.clone(), self.found.clone());
        let sink = Sink { sender: sender.clone(), skip: from, sent: 0, tally: self.tally.clone() };
        tokio::task::spawn_blocking(move || {
            let method = (cargo.how.compression(), cargo.how.level);
            let sink = HashingWriter::new(sink);
            let done = match cargo.store.write_layer(&cargo.lease, &layer, &found, method, sink) {
                Ok(sink) => {
                    let (sink, sum, length) = sink.finish();
                    let done = State::Done(Digest::from_sha256(sum), length);
                    // The end of the stream is seen after this is.
                    (done, Some(sink))
                }
                Err(_) if sender.is_closed() => return,
                Err(error) => {
                    // Without it the stream would look as if it were whole.
                    sender.blocking_send(Err(io::Error::other("the layer can't be compressed"))).ok();
                    (State::Failed(error.into()), None)
                }
            };
            *state.lock().unwrap_or_else(PoisonError::into_inner) = done.0;
            drop((done.1, sender));
        });
        let chunks = futures_util::stream::unfold(chunks, |mut chunks| async move {
            chunks.recv().await.map(|chunk| (chunk, chunks))
        });
        Body::wrap_stream(chunks)
    }

    fn digest(&self) -> Option<Digest> {
        match &*self.state().lock().unwrap_or_else(PoisonError::into_inner) {
            State::Done(digest, _) => Some(digest.clone()),
            _ => None,
        }
    }

    fn failed(&self) -> bool {
        matches!(&*self.state().lock().unwrap_or_else(PoisonError::into_inner), State::Failed(_))
    }
}

/// Where the compressor writes to.
struct Sink {
    sender: mpsc::Sender<io::Result<Bytes>>,
    /// Bytes that the registry has.
    skip: u64,
    sent: u64,
    tally: Tally,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let known = self.skip.min(bytes.len() as u64);
        self.skip -= known;
        self.sent += bytes.len() as u64;
        let new = &bytes[known as usize..];
        if !new.is_empty() {
            self.tally.tell(self.sent);
            let chunk = Ok(Bytes::copy_from_slice(new));
            self.sender.blocking_send(chunk).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
