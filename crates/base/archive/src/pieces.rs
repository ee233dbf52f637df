//! Compressing on all processors.
//!
//! The stream is cut into pieces of one length, which are compressed side by side and written in order. So the bytes that come
//! out depend on those that go in alone, and neither on how many processors there are nor on who is faster. gzip's pieces are
//! members (RFC 1952 section 2.2), zstd's are frames (RFC 8878 section 3.1): any decompressor takes them one after the other.
//!
//! A piece is here as a whole, which libdeflate makes use of: it takes half the time of a compressor of streams.

use crate::{Compression, wanted};
use libdeflater::{CompressionLvl, Compressor};
use std::io::{self, Write};
use std::mem;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes that a piece is made of: long enough that a new start costs little of what is saved.
const GZIP_PIECE: usize = 1 << 20;
const ZSTD_PIECE: usize = 4 << 20;
/// What zstd gets of one at a time: a block, the longest there is.
const ZSTD_SLICE: usize = 128 << 10;
/// More of them than that would need more memory than they save time.
const WORKERS: usize = 16;
/// What gzip is told to do where nobody says: as small within a hundredth as at its usual level, in a good half of the time.
const GZIP_LEVEL: u32 = 4;
/// The same for what hardly becomes smaller whatever is done: a fifth less time for less than a hundredth more bytes.
const DENSE_LEVEL: u32 = 1;
/// Of so many places of a piece so many bytes are tried; what keeps more than so many of a hundred is dense.
const SAMPLES: usize = 4;
const SAMPLE: usize = 8 << 10;
const DENSE: usize = 60;

/// Compresses what `produce` writes into `sink`, at the format's own level `asked` for (none is its default), on all processors. What it
/// gives back and the sink. Formats that can't be cut are compressed here and now. Once it `is_over` the work ends with an error:
/// what has been written by then may take long to compress.
pub fn compress_pieces<T, E: From<io::Error>, W: Write + Send>(
    compression: Compression,
    asked: Option<u32>,
    sink: W,
    is_over: &IsOver<'_>,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, W), E> {
    let format = match compression {
        Compression::Gzip => Format::Gzip {
            usual: gzip_level(asked)?,
            dense: if asked.is_none() { Some(gzip_level(Some(DENSE_LEVEL))?) } else { None },
        },
        Compression::Zstd => Format::Zstd(asked.unwrap_or(3).min(22) as i32),
        _ => {
            let mut compressor = crate::compress(compression, asked, sink)?;
            let made = produce(&mut compressor)?;
            return Ok((made, compressor.finish()?));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS);
    on_threads(format, workers, sink, is_over, produce)
}

/// Whether nobody waits for the outcome any more.
pub type IsOver<'a> = dyn Fn() -> bool + Sync + 'a;

/// gzip's own level, or what is taken where nobody says.
pub(crate) fn gzip_level(level: Option<u32>) -> io::Result<CompressionLvl> {
    let level = level.unwrap_or(GZIP_LEVEL).min(9) as i32;
    CompressionLvl::new(level).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[derive(Clone, Copy)]
enum Format {
    Gzip {
        usual: CompressionLvl,
        /// For pieces that hardly become smaller, if they are looked for.
        dense: Option<CompressionLvl>,
    },
    Zstd(i32),
}

/// A piece to be compressed, and where the outcome is waited for.
struct Job {
    bytes: Vec<u8>,
    done: Sender<io::Result<Vec<u8>>>,
}

/// Buffers that were used: a new one costs the kernel as much time as copying into it.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spare {
    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty one, if there is one.
    fn take(&self) -> Vec<u8> {
        self.buffers().pop().unwrap_or_default()
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.buffers().push(buffer);
    }
}

fn on_threads<T, E: From<io::Error>, W: Write + Send>(
    format: Format,
    workers: usize,
    sink: W,
    is_over: &IsOver<'_>,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, W), E> {
    thread::scope(|scope| {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        // Pieces that are under way: as many as are worked on and as many again that wait.
        let (order, in_order) = sync_channel(2 * workers);
        let (pieces, outcomes) = (Spare::default(), Spare::default());
        for _ in 0..workers {
            let (waiting, spare) = (waiting.clone(), (pieces.clone(), outcomes.clone()));
            scope.spawn(move || work(format, &waiting, is_over, &spare.0, &spare.1));
        }
        let writer = scope.spawn(move || collect(sink, &in_order, &outcomes));
        let mut pieces = Pieces { format, piece: Vec::new(), begun: false, jobs, order, spare: pieces };
        let made = produce(&mut pieces);
        let ended = match &made {
            Ok(_) => pieces.end(),
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
    /// Whether a piece was passed on.
    begun: bool,
    jobs: Sender<Job>,
    order: SyncSender<Receiver<io::Result<Vec<u8>>>>,
    spare: Spare,
}

impl Pieces {
    fn length(&self) -> usize {
        match self.format {
            Format::Gzip { .. } => GZIP_PIECE,
            Format::Zstd(_) => ZSTD_PIECE,
        }
    }

    /// Passes on what is left. Nothing at all is a piece too.
    fn end(&mut self) -> io::Result<()> {
        if self.piece.is_empty() && self.begun { Ok(()) } else { self.pass() }
    }

    fn pass(&mut self) -> io::Result<()> {
        self.begun = true;
        let bytes = mem::replace(&mut self.piece, self.spare.take());
        let (done, outcome) = channel();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.order.send(outcome).map_err(|_| gone())?;
        self.jobs.send(Job { bytes, done }).map_err(|_| gone())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.length();
        if self.piece.len() == length {
            self.pass()?;
        }
        if self.piece.is_empty() {
            // Few bytes may be all that come.
            self.piece.reserve_exact(if self.begun { length } else { bytes.len().min(length) });
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

fn work(
    format: Format,
    waiting: &Mutex<Receiver<Job>>,
    is_over: &IsOver<'_>,
    pieces: &Spare,
    outcomes: &Spare,
) {
    let mut worker = None;
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let mut out = outcomes.take();
        let worker = worker.get_or_insert_with(|| Worker::new(format));
        let outcome = worker.compress(&job.bytes, &mut out, is_over).map(|()| out);
        pieces.give(job.bytes);
        // Whoever collects may have failed.
        let _ = job.done.send(outcome);
    }
}

/// A compressor for one piece after the other.
enum Worker {
    Gzip { usual: Compressor, dense: Option<Compressor> },
    Zstd(i32),
}

impl Worker {
    fn new(format: Format) -> Worker {
        match format {
            Format::Gzip { usual, dense } => {
                Worker::Gzip { usual: Compressor::new(usual), dense: dense.map(Compressor::new) }
            }
            Format::Zstd(level) => Worker::Zstd(level),
        }
    }

    /// Into an empty buffer.
    fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>, is_over: &IsOver<'_>) -> io::Result<()> {
        wanted(is_over())?;
        match self {
            Worker::Gzip { usual, dense } => {
                out.resize(usual.gzip_compress_bound(bytes.len()), 0);
                // A member of gzip's, without name and time.
                let compressor = match dense {
                    Some(dense) => match is_dense(dense, bytes, out)? {
                        true => dense,
                        false => usual,
                    },
                    None => usual,
                };
                let length = compressor.gzip_compress(bytes, out).map_err(io::Error::other)?;
                out.truncate(length);
            }
            Worker::Zstd(level) => *out = frame(*level, bytes, mem::take(out), is_over)?,
        }
        Ok(())
    }
}

/// A frame of zstd's, which takes seconds at the highest levels: not all at once.
fn frame(level: i32, bytes: &[u8], out: Vec<u8>, is_over: &IsOver<'_>) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::Encoder::new(out, level)?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    for slice in bytes.chunks(ZSTD_SLICE) {
        wanted(is_over())?;
        encoder.write_all(slice)?;
    }
    encoder.finish()
}

/// Whether a piece hardly becomes smaller, by some samples of it.
fn is_dense(compressor: &mut Compressor, bytes: &[u8], out: &mut [u8]) -> io::Result<bool> {
    let apart = bytes.len() / SAMPLES;
    if apart < SAMPLE {
        return Ok(false);
    }
    let mut length = 0;
    for sample in bytes.chunks(apart).take(SAMPLES) {
        let middle = (apart - SAMPLE) / 2;
        let sample = &sample[middle..middle + SAMPLE];
        length += compressor.deflate_compress(sample, out).map_err(io::Error::other)?;
    }
    Ok(length * 100 > SAMPLES * SAMPLE * DENSE)
}

/// A member of gzip's, without name and time.
pub(crate) fn member(level: CompressionLvl, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut out).map_err(io::Error::other)?;
    out.truncate(length);
    Ok(out)
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
    mut sink: W,
    in_order: &Receiver<Receiver<io::Result<Vec<u8>>>>,
    outcomes: &Spare,
) -> Result<W, Stopped> {
    for outcome in in_order {
        let Ok(bytes) = outcome.recv() else { return Err(Stopped::Early) };
        let bytes = bytes.map_err(Stopped::Sink)?;
        sink.write_all(&bytes).map_err(Stopped::Sink)?;
        outcomes.give(bytes);
    }
    sink.flush().map_err(Stopped::Sink)?;
    Ok(sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompress;
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Compresses somewhat.
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn usual(level: u32) -> Format {
        Format::Gzip { usual: gzip_level(Some(level)).unwrap(), dense: None }
    }

    fn measured() -> Format {
        let level = |level| gzip_level(Some(level)).unwrap();
        Format::Gzip { usual: level(GZIP_LEVEL), dense: Some(level(DENSE_LEVEL)) }
    }

    fn squeezed(format: Format, workers: usize, bytes: &[u8]) -> Vec<u8> {
        on_threads(format, workers, Vec::new(), &|| false, |sink| sink.write_all(bytes)).unwrap().1
    }

    #[test]
    fn the_same_bytes_come_out_however_many_work() {
        for format in [usual(6), measured(), Format::Zstd(3)] {
            for length in [0, 1, 1 << 15, GZIP_PIECE, GZIP_PIECE + 1, ZSTD_PIECE + 5] {
                let bytes = bytes(length);
                let one = squeezed(format, 1, &bytes);
                assert!(one == squeezed(format, 5, &bytes), "{length}");
                let mut back = Vec::new();
                decompress(&one[..]).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{length}");
                assert!(length < 1000 || one.len() < length * 65 / 100, "{length}: {}", one.len());
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
        let out = squeezed(usual(6), 3, &bytes);
        let mut back = Vec::new();
        decompress(&out[..]).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }

    #[test]
    fn only_what_stays_large_gets_less_effort() {
        // Words that repeat, and as many bits that don't as are asked for.
        let mixed = |random: usize| {
            let mut state = 11u64;
            let mut out = Vec::with_capacity(GZIP_PIECE);
            while out.len() < GZIP_PIECE {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                out.extend_from_slice(b"a word again");
                out.extend_from_slice(&state.to_le_bytes()[8 - random..]);
            }
            out.truncate(GZIP_PIECE);
            out
        };
        let dense: Vec<u8> =
            mixed(8).chunks(20).flat_map(|part| part[12.min(part.len())..].to_vec()).collect();
        for (bytes, is) in [(mixed(2), false), (bytes(GZIP_PIECE), false), (dense, true)] {
            let (found, least) = (squeezed(measured(), 2, &bytes), squeezed(usual(DENSE_LEVEL), 2, &bytes));
            assert_eq!(found == least, is, "{} of {}", found.len(), bytes.len());
        }
    }

    #[test]
    fn errors_come_back_from_both_ends() {
        let gzip = || usual(1);
        let broken = |_: &mut dyn Write| Err::<(), _>(io::Error::other("broken"));
        assert_eq!(on_threads(gzip(), 2, Vec::new(), &|| false, broken).unwrap_err().to_string(), "broken");
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
        let error = on_threads(gzip(), 2, Full, &|| false, endless).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn within_a_piece_it_can_be_over() {
        for (format, slices) in [(Format::Zstd(22), 3), (usual(1), 0)] {
            // What was written is there as a whole: only those who compress can still notice.
            let left = AtomicUsize::new(1 + slices);
            let is_over = || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err();
            let bytes = bytes(ZSTD_PIECE);
            let produce = |sink: &mut dyn Write| sink.write_all(&bytes);
            let error = on_threads(format, 1, Vec::new(), &is_over, produce).map(drop).unwrap_err();
            assert_eq!(error.to_string(), crate::guard::UNWANTED);
            assert_eq!(left.into_inner(), 0);
        }
    }
}
