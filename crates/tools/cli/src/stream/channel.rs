//! Joins synchronous writers, such as an archive's packer, with asynchronous requests.

use std::io;
use std::path::Path;

use archive::{Packer, Tree};
use bytes::{Buf as _, Bytes};
use client::{ByteStream, Payload};
use tokio::sync::mpsc;

/// Portions that may wait; more stops the writer until the network has taken some.
const WAITING: usize = 8;
/// Bytes of a file that travel at once.
const PORTION: usize = 128 << 10;

/// A writer for a thread; what it writes comes out of a receiver. Dropped, it ends the stream.
pub struct ChannelWriter(mpsc::Sender<io::Result<Bytes>>);

impl ChannelWriter {
    pub fn new() -> (ChannelWriter, mpsc::Receiver<io::Result<Bytes>>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (ChannelWriter(sender), receiver)
    }

    /// Breaks the stream off, so that the other side does not take a part for the whole.
    pub fn fail(&self, error: io::Error) {
        let _ = self.0.blocking_send(Err(error));
    }
}

/// A file as the body of a request, read by a thread.
pub fn file(path: &Path) -> io::Result<Payload> {
    let mut file = std::fs::File::open(path)?;
    let (mut writer, receiver) = ChannelWriter::new();
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; PORTION];
        loop {
            match io::Read::read(&mut file, &mut buffer) {
                Ok(0) => return,
                Ok(count) if io::Write::write_all(&mut writer, &buffer[..count]).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return writer.fail(error),
            }
        }
    });
    Ok(Payload::channel(receiver))
}

/// A directory's files as an archive in the body of a request, packed by a thread.
pub fn directory(path: std::path::PathBuf) -> io::Result<Payload> {
    let root = sys::root::Root::open(&path)?;
    let (writer, receiver) = ChannelWriter::new();
    tokio::task::spawn_blocking(move || {
        let mut packer = Packer::new(io::BufWriter::with_capacity(PORTION, writer));
        let tree = Tree { root: &root, path: Path::new(""), name: Path::new(""), layer: false };
        match archive::pack_tree(&mut packer, tree) {
            Err(error) => packer.sink().get_ref().fail(io::Error::other(error)),
            // When that fails nobody reads it any more, and says why.
            Ok(_) => drop(packer.finish()),
        }
    });
    Ok(Payload::channel(receiver))
}

impl io::Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader for a thread, of an answer that flows in asynchronously.
pub struct ChannelReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ChannelReader {
    pub fn new(mut stream: ByteStream) -> ChannelReader {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        ChannelReader { receiver, current: Bytes::new() }
    }
}

impl io::Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(item) => self.current = item?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
