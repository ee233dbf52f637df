//! Writing behind on a second thread, so that reading files overlaps with hashing what is made of them.

use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// Size of a chunk: large enough that passing it on costs nothing, small enough to stay in the cache.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait between the two threads.
const WAITING: usize = 8;

/// A writer whose sink works on a thread of its own from the second chunk on: what is short isn't worth one.
pub struct Behind<'scope, 'env, W> {
    scope: &'scope Scope<'scope, 'env>,
    chunk: Vec<u8>,
    sink: Sink<'scope, W>,
}

enum Sink<'scope, W> {
    Here(W),
    There {
        full: SyncSender<Vec<u8>>,
        empty: Receiver<Vec<u8>>,
        thread: ScopedJoinHandle<'scope, io::Result<W>>,
    },
    /// It failed, which was told.
    Gone,
}

impl<'scope, 'env, W: Write + Send + 'scope> Behind<'scope, 'env, W> {
    /// Begins; the thread ends with `scope` at the latest.
    pub fn new(scope: &'scope Scope<'scope, 'env>, sink: W) -> Self {
        Self { scope, chunk: Vec::new(), sink: Sink::Here(sink) }
    }

    /// Writes what is left and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        let rest = mem::take(&mut self.chunk);
        match mem::replace(&mut self.sink, Sink::Gone) {
            Sink::Here(mut sink) => sink.write_all(&rest).map(|()| sink),
            Sink::There { full, thread, .. } => {
                // If the other side is gone its error says why.
                let _ = full.send(rest);
                drop(full);
                join(thread)
            }
            Sink::Gone => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn pass(&mut self) -> io::Result<()> {
        self.sink = match mem::replace(&mut self.sink, Sink::Gone) {
            Sink::Here(sink) => {
                let (full, chunks) = sync_channel(WAITING);
                let (used, empty) = sync_channel(WAITING + 2);
                let thread = self.scope.spawn(move || drain(sink, &chunks, &used));
                Sink::There { full, empty, thread }
            }
            other => other,
        };
        let Sink::There { full, empty, .. } = &self.sink else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let next = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
        if full.send(mem::replace(&mut self.chunk, next)).is_ok() {
            return Ok(());
        }
        match mem::replace(&mut self.sink, Sink::Gone) {
            Sink::There { thread, .. } => join(thread).and(Err(io::ErrorKind::BrokenPipe.into())),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn join<W>(thread: ScopedJoinHandle<'_, io::Result<W>>) -> io::Result<W> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn drain<W: Write>(mut sink: W, chunks: &Receiver<Vec<u8>>, used: &SyncSender<Vec<u8>>) -> io::Result<W> {
    for mut chunk in chunks {
        sink.write_all(&chunk)?;
        chunk.clear();
        let _ = used.try_send(chunk);
    }
    Ok(sink)
}

impl<'scope, W: Write + Send + 'scope> Write for Behind<'scope, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() >= CHUNK {
            self.pass()?;
        }
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// What was written is not waited for.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        for length in [0, 10, CHUNK, CHUNK + 1, 30 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| (n / 251) as u8).collect();
            let written = std::thread::scope(|scope| {
                let mut behind = Behind::new(scope, Vec::new());
                for piece in bytes.chunks(7_000) {
                    behind.write_all(piece).unwrap();
                }
                behind.finish().unwrap()
            });
            assert!(written == bytes, "{length}");
        }
    }

    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_of_the_sink_comes_back() {
        let error = std::thread::scope(|scope| {
            let mut behind = Behind::new(scope, Full(CHUNK));
            let written = (0..100).try_for_each(|_| behind.write_all(&[0; CHUNK]));
            written.and_then(|()| behind.finish().map(drop)).unwrap_err()
        });
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
