//! Compressing on all processors.
//!
//! The stream is cut into pieces of one length, which are compressed side by side and written in order. So the bytes that come
//! out depend on those that go in alone, and neither on how many processors there are nor on who is faster. gzip's pieces are one
//! member, each begun with what lies before it as its dictionary (RFC 1951, RFC 1952); zstd's are frames (RFC 8878). Any
//! decompressor takes both.

use crate::Compression;
use flate2::{Compress, Crc, FlushCompress, Status};
use std::io::{self, Write};
use std::mem;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes that a piece is made of: long enough that a new start costs little of what is saved.
const GZIP_PIECE: usize = 512 << 10;
const ZSTD_PIECE: usize = 4 << 20;
/// How far back gzip looks.
const WINDOW: usize = 32 << 10;

/// Compresses what `produce` writes into `sink`, at the format's own `level` (none is its default), on all processors. What it
/// gives back and the sink. Formats that can't be cut are compressed here and now.
pub fn compress_pieces<T, E: From<io::Error>, W: Write + Send>(
    compression: Compression,
    level: Option<u32>,
    sink: W,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, W), E> {
    let format = match compression {
        Compression::Gzip => Format::Gzip(flate2::Compression::new(level.unwrap_or(6).min(9))),
        Compression::Zstd => Format::Zstd(level.unwrap_or(3).min(22) as i32),
        _ => {
            let mut compressor = crate::compress(compression, level, sink)?;
            let made = produce(&mut compressor)?;
            return Ok((made, compressor.finish()?));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    on_threads(format, workers, sink, produce)
}

#[derive(Clone, Copy)]
enum Format {
    Gzip(flate2::Compression),
    Zstd(i32),
}

/// A piece to be compressed, and where the outcome is waited for.
struct Job {
    bytes: Vec<u8>,
    /// What lies before it, as far as it matters.
    before: Vec<u8>,
    last: bool,
    done: Sender<io::Result<Done>>,
}

struct Done {
    bytes: Vec<u8>,
    crc: Crc,
}

fn on_threads<T, E: From<io::Error>, W: Write + Send>(
    format: Format,
    workers: usize,
    sink: W,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, W), E> {
    thread::scope(|scope| {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        // Pieces that are under way: as many as are worked on and as many again that wait.
        let (order, in_order) = sync_channel(2 * workers);
        for _ in 0..workers {
            let waiting = waiting.clone();
            scope.spawn(move || work(format, &waiting));
        }
        let writer = scope.spawn(move || collect(format, sink, &in_order));
        let mut pieces = Pieces { format, piece: Vec::new(), before: Vec::new(), jobs, order };
        let made = produce(&mut pieces);
        let ended = match &made {
            Ok(_) => pieces.pass(true),
            // Nobody wants the rest.
            Err(_) => Ok(()),
        };
        drop(pieces);
        let sink = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (made, sink) {
            // The producer has then only seen that nobody takes what it writes.
            (_, Err(Stopped::Sink(error))) => Err(error.into()),
            (Err(error), _) => Err(error),
            (Ok(_), Err(Stopped::Early)) => Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
            (Ok(made), Ok(sink)) => ended.map(|()| (made, sink)).map_err(E::from),
        }
    })
}

/// The writing end.
struct Pieces {
    format: Format,
    piece: Vec<u8>,
    before: Vec<u8>,
    jobs: Sender<Job>,
    order: SyncSender<Receiver<io::Result<Done>>>,
}

impl Pieces {
    fn length(&self) -> usize {
        match self.format {
            Format::Gzip(_) => GZIP_PIECE,
            Format::Zstd(_) => ZSTD_PIECE,
        }
    }

    fn pass(&mut self, last: bool) -> io::Result<()> {
        let next = if last { Vec::new() } else { Vec::with_capacity(self.length()) };
        let bytes = mem::replace(&mut self.piece, next);
        let before = match self.format {
            Format::Gzip(_) => {
                let next = bytes[bytes.len().saturating_sub(WINDOW)..].to_vec();
                mem::replace(&mut self.before, next)
            }
            Format::Zstd(_) => Vec::new(),
        };
        let (done, outcome) = channel();
        let gone = |()| io::Error::from(io::ErrorKind::BrokenPipe);
        self.order.send(outcome).map_err(|_| gone(()))?;
        self.jobs.send(Job { bytes, before, last, done }).map_err(|_| gone(()))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.length();
        if self.piece.len() == length {
            self.pass(false)?;
        }
        let count = bytes.len().min(length - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// What was written is not waited for.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(format: Format, waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let mut crc = Crc::new();
        let bytes = match format {
            Format::Gzip(level) => {
                crc.update(&job.bytes);
                deflate(level, &job)
            }
            Format::Zstd(level) => zstd::bulk::compress(&job.bytes, level),
        };
        // Whoever collects may have failed.
        let _ = job.done.send(bytes.map(|bytes| Done { bytes, crc }));
    }
}

/// One piece of a raw stream: up to a byte's boundary, or to the end.
fn deflate(level: flate2::Compression, job: &Job) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(level, false);
    if !job.before.is_empty() {
        compress.set_dictionary(&job.before).map_err(io::Error::other)?;
    }
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(job.bytes.len() / 2 + 1024);
    loop {
        let read = compress.total_in() as usize;
        let status = compress.compress_vec(&job.bytes[read..], &mut out, flush).map_err(io::Error::other)?;
        let all = compress.total_in() as usize == job.bytes.len();
        match status {
            Status::StreamEnd => return Ok(out),
            // With room left there is nothing more to come.
            _ if !job.last && all && out.len() < out.capacity() => return Ok(out),
            _ => out.reserve((out.capacity() / 2).max(4096)),
        }
    }
}

/// Why there is no sink to give back.
enum Stopped {
    /// The writer or a compressor failed.
    Sink(io::Error),
    /// The stream was not brought to its end.
    Early,
}

/// Writes the pieces in their order.
fn collect<W: Write>(
    format: Format,
    mut sink: W,
    in_order: &Receiver<Receiver<io::Result<Done>>>,
) -> Result<W, Stopped> {
    let mut sum = Crc::new();
    let failed = Stopped::Sink;
    if let Format::Gzip(level) = format {
        let speed = match level.level() {
            9 => 2,
            0 | 1 => 4,
            _ => 0,
        };
        // No flags, no time, no operating system.
        sink.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, speed, 0xff]).map_err(failed)?;
    }
    for outcome in in_order {
        let Ok(done) = outcome.recv() else { return Err(Stopped::Early) };
        let done = done.map_err(failed)?;
        sink.write_all(&done.bytes).map_err(failed)?;
        sum.combine(&done.crc);
    }
    if let Format::Gzip(_) = format {
        sink.write_all(&sum.sum().to_le_bytes()).map_err(failed)?;
        sink.write_all(&sum.amount().to_le_bytes()).map_err(failed)?;
    }
    sink.flush().map_err(failed)?;
    Ok(sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompress;
    use std::io::Read;

    /// Compresses somewhat.
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn squeezed(format: Format, workers: usize, bytes: &[u8]) -> Vec<u8> {
        on_threads(format, workers, Vec::new(), |sink| sink.write_all(bytes)).unwrap().1
    }

    #[test]
    fn the_same_bytes_come_out_however_many_work() {
        for format in [Format::Gzip(flate2::Compression::new(6)), Format::Zstd(3)] {
            for length in [0, 1, WINDOW, GZIP_PIECE, GZIP_PIECE + 1, ZSTD_PIECE + 5] {
                let bytes = bytes(length);
                let one = squeezed(format, 1, &bytes);
                assert!(one == squeezed(format, 5, &bytes), "{length}");
                let mut back = Vec::new();
                decompress(&one[..]).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{length}");
                assert!(length < 1000 || one.len() < length * 6 / 10, "{length}: {}", one.len());
            }
        }
    }

    #[test]
    fn what_does_not_compress_comes_back_too() {
        let mut random = 1u64;
        let bytes: Vec<u8> = (0..1_000_000)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random as u8
            })
            .collect();
        let out = squeezed(Format::Gzip(flate2::Compression::new(6)), 3, &bytes);
        let mut back = Vec::new();
        decompress(&out[..]).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }

    #[test]
    fn errors_come_back_from_both_ends() {
        let gzip = || Format::Gzip(flate2::Compression::new(1));
        let broken = |_: &mut dyn Write| Err::<(), _>(io::Error::other("broken"));
        assert_eq!(on_threads(gzip(), 2, Vec::new(), broken).unwrap_err().to_string(), "broken");
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let endless = |sink: &mut dyn Write| -> io::Result<()> {
            loop {
                sink.write_all(&[0; 4096])?;
            }
        };
        let error = on_threads(gzip(), 2, Full, endless).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
