//! Reading ahead on a second thread, so that decompressing overlaps with hashing and writing files.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Size of a chunk: large enough that passing it on costs nothing, small enough to stay in the cache.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait between the two threads.
const WAITING: usize = 8;

/// The receiving end: a buffered reader of what the other thread reads.
pub struct Ahead {
    chunks: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
}

/// Lets a second thread read `source` while this one consumes it. When `consume` returns before the end, the
/// other thread stops after the read that it is in.
pub fn read_ahead<T>(source: impl Read + Send, consume: impl FnOnce(&mut Ahead) -> T) -> T {
    std::thread::scope(|scope| {
        let (sender, chunks) = sync_channel(WAITING);
        let (empty, recycled) = sync_channel(WAITING + 2);
        scope.spawn(move || fill(source, &sender, &recycled));
        let mut ahead = Ahead { chunks, empty, chunk: Vec::new(), position: 0, ended: false };
        consume(&mut ahead)
    })
}

fn fill(mut source: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>, recycled: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = recycled.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        let outcome = loop {
            match source.read(&mut chunk[filled..]) {
                Ok(0) => break Ok(true),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if filled == CHUNK {
                break Ok(false);
            }
        };
        chunk.truncate(filled);
        // Whoever consumes may have gone away, which is fine.
        if filled > 0 && sender.send(Ok(chunk)).is_err() {
            return;
        }
        match outcome {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        }
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.chunk.len() && !self.ended {
            let used = std::mem::take(&mut self.chunk);
            self.position = 0;
            let _ = self.empty.try_send(used);
            match self.chunks.recv() {
                Ok(chunk) => self.chunk = chunk.inspect_err(|_| self.ended = true)?,
                Err(_) => self.ended = true,
            }
        }
        Ok(&self.chunk[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_bytes_in_order() {
        let bytes: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let mut copy = Vec::new();
        read_ahead(&bytes[..], |ahead| ahead.read_to_end(&mut copy)).unwrap();
        assert!(copy == bytes);
    }

    #[test]
    fn stops_early_and_hands_errors_on() {
        assert_eq!(read_ahead(io::repeat(1), |ahead| ahead.fill_buf().unwrap()[0]), 1);
        let broken = (&b"abc"[..]).chain(Broken);
        let mut text = String::new();
        let error = read_ahead(broken, |ahead| ahead.read_to_string(&mut text)).unwrap_err();
        assert_eq!(error.to_string(), "broken");
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
}
