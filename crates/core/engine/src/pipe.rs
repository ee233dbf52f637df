//! Bytes between asynchronous callers and synchronous work: a channel that is a [`Read`] or a [`Write`].
//!
//! Blocking ends: use them on the blocking pool only. When the other side is dropped, writing fails with a broken
//! pipe and reading ends, so work stops soon after its caller went away.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use crate::error::Result;

/// Chunks that may wait for a slow reader.
const BACKLOG: usize = 16;
const CHUNK: usize = 64 << 10;

/// The writing end.
pub(crate) struct Writer {
    sender: mpsc::Sender<Result<Bytes>>,
    buffer: BytesMut,
}

/// A writing end and the receiver of what is written. [`Writer::fail`] lets the receiver see an error.
pub(crate) fn writer() -> (Writer, mpsc::Receiver<Result<Bytes>>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (Writer { sender, buffer: BytesMut::with_capacity(CHUNK) }, receiver)
}

impl Writer {
    /// Where an error can be sent after the writer was given away.
    pub fn sender(&self) -> mpsc::Sender<Result<Bytes>> {
        self.sender.clone()
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// The reading end.
pub(crate) struct Reader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

/// A reading end that gives what `stream` yields. The stream is driven by a task that ends with the reader.
pub(crate) fn reader(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Reader {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(chunk) = stream.next().await {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    });
    Reader { receiver, chunk: Bytes::new() }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let taken = self.chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.chunk.split_to(taken));
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_through_both_ways() {
        let text = vec![7_u8; CHUNK * 3 + 5];
        let (mut writer, receiver) = writer();
        let copy = text.clone();
        let writing = tokio::task::spawn_blocking(move || {
            writer.write_all(&copy).unwrap();
            writer.flush().unwrap();
        });
        let stream = futures_util::stream::unfold(receiver, |mut r| async move {
            r.recv().await.map(|chunk| (chunk.map_err(io::Error::other), r))
        });
        let mut back = reader(stream);
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            back.read_to_end(&mut all).unwrap();
            all
        });
        writing.await.unwrap();
        assert_eq!(read.await.unwrap(), text);
    }

    #[tokio::test]
    async fn a_writer_notices_that_its_reader_went_away() {
        let (mut writer, receiver) = writer();
        drop(receiver);
        let result = tokio::task::spawn_blocking(move || writer.write_all(&[0; CHUNK])).await.unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
