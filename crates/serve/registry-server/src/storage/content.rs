//! Content on its way to a client.
//!
//! What the page cache has is read right where it is sent; what comes from the disk is read elsewhere, the next portion while
//! the last one is sent. Portions are the smaller the more clients there are, so that all together hold a known amount of memory,
//! and the memory of one that was sent is that of the next.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use registry::Bucket;
use rustix::io::ReadWriteFlags;
use tokio::task::JoinHandle;

use super::objects;
use crate::answer::Body;

/// What the portions of all answers may hold together; each has one that is read and one that is sent.
const BUDGET: usize = 32 << 20;
const PORTION_MIN: usize = 16 << 10;
/// Of content that is sent: what a processor's own cache holds beside other things.
const SENT_MAX: usize = 256 << 10;
/// Of content that is taken: each portion is given to another thread, which costs more than the cache gives.
const TAKEN_MAX: usize = 1 << 20;

/// Counts those who send content, or take some.
#[derive(Clone, Debug)]
pub(crate) struct Flow(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The largest portion.
    most: usize,
    seats: AtomicUsize,
    /// Memory of portions that were sent.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Flow {
    /// Of content that is sent.
    pub(crate) fn out() -> Flow {
        Flow::of(SENT_MAX)
    }

    /// Of content that is taken.
    pub(crate) fn into() -> Flow {
        Flow::of(TAKEN_MAX)
    }

    fn of(most: usize) -> Flow {
        Flow(Arc::new(Shared { most, seats: AtomicUsize::new(0), spare: Mutex::default() }))
    }

    pub(crate) fn join(&self) -> Seat {
        self.0.seats.fetch_add(1, Ordering::Relaxed);
        Seat(self.clone())
    }

    fn seats(&self) -> usize {
        self.0.seats.load(Ordering::Relaxed)
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for so many bytes, which may have been others' before.
    fn memory(&self, count: usize) -> Vec<u8> {
        let spare = self.spare().pop();
        let spare = spare.filter(|spare| spare.capacity() >= count && spare.capacity() <= 2 * count);
        spare.unwrap_or_else(|| Vec::with_capacity(count))
    }
}

/// One of those.
#[derive(Debug)]
pub(crate) struct Seat(Flow);

impl Seat {
    /// How much may be held at a time, twice.
    pub(crate) fn portion(&self) -> usize {
        (BUDGET / 2 / self.0.seats().max(1)).clamp(PORTION_MIN, self.0.0.most)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.0.seats.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Nobody needs it for now.
            *self.0.spare() = Vec::new();
        }
    }
}

/// Bytes that are being sent; their memory is used again.
struct Portion {
    bytes: Vec<u8>,
    flow: Flow,
}

impl Portion {
    fn frame(bytes: Vec<u8>, flow: &Flow) -> Frame<Bytes> {
        Frame::data(Bytes::from_owner(Portion { bytes, flow: flow.clone() }))
    }
}

impl AsRef<[u8]> for Portion {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let most = 2 * self.flow.seats();
        let mut spare = self.flow.spare();
        if spare.len() < most {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Content that was found.
pub(crate) struct Content {
    pub(crate) size: u64,
    source: Source,
}

enum Source {
    File(File),
    Object(Box<Bucket>, String),
}

impl Content {
    pub(super) fn file(file: File, size: u64) -> Content {
        Content { size, source: Source::File(file) }
    }

    pub(super) fn object(bucket: Bucket, key: String, size: u64) -> Content {
        Content { size, source: Source::Object(Box::new(bucket), key) }
    }

    /// These bytes of it, which it must have.
    pub(crate) fn body(self, range: Range<u64>, flow: &Flow) -> Body {
        let file = match self.source {
            Source::File(file) => Arc::new(file),
            Source::Object(bucket, key) => return objects::body(*bucket, key, range),
        };
        let (next, end, left) = (range.start, range.end, range.end - range.start);
        FileBody { file, next, end, left, cached: true, reading: None, seat: flow.join() }.boxed_unsync()
    }
}

struct FileBody {
    file: Arc<File>,
    /// Where the next read begins.
    next: u64,
    end: u64,
    /// Bytes that were not handed out.
    left: u64,
    /// Whether the page cache has had all so far.
    cached: bool,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    seat: Seat,
}

impl FileBody {
    /// Bytes of the next portion; none at the end.
    fn wanted(&self) -> usize {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        self.seat.portion().min(left)
    }

    /// What the page cache has of the next portion, if it has some.
    fn read_cached(&mut self) -> Option<Vec<u8>> {
        let count = self.wanted();
        let mut bytes = self.seat.0.memory(count);
        cached(&self.file, self.next, count, &mut bytes);
        self.next += bytes.len() as u64;
        self.cached = bytes.len() == count;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Begins to read the next portion, if there is one.
    fn read_ahead(&mut self) {
        let (count, at) = (self.wanted(), self.next);
        if count == 0 {
            return;
        }
        let file = self.file.clone();
        let memory = self.seat.0.memory(count);
        self.next += count as u64;
        self.reading = Some(tokio::task::spawn_blocking(move || portion_in(memory, &file, at, count)));
    }

    fn sent(&mut self, bytes: Vec<u8>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Portion::frame(bytes, &self.seat.0))))
    }
}

/// Adds so many bytes at most, and none that would have to be waited for.
fn cached(file: &File, at: u64, count: usize, bytes: &mut Vec<u8>) {
    bytes.resize(count, 0);
    let into = &mut [io::IoSliceMut::new(bytes)];
    let read = rustix::io::preadv2(file, into, at, ReadWriteFlags::NOWAIT);
    // Where it is not known what is cached, it is read as if nothing were.
    bytes.truncate(read.unwrap_or(0));
}

/// Exactly so many bytes: content that has become shorter is no content.
pub(crate) fn portion(file: &File, at: u64, count: usize) -> io::Result<Vec<u8>> {
    portion_in(Vec::with_capacity(count), file, at, count)
}

/// The same in memory that is there already.
fn portion_in(mut bytes: Vec<u8>, file: &File, mut at: u64, count: usize) -> io::Result<Vec<u8>> {
    bytes.clear();
    while bytes.len() < count {
        let before = bytes.len();
        rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at)?;
        // The allocation may be larger than what was asked for.
        bytes.truncate(count);
        if bytes.len() == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += (bytes.len() - before) as u64;
    }
    Ok(bytes)
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.reading.is_none() && self.cached {
            if self.wanted() == 0 {
                return Poll::Ready(None);
            }
            if let Some(bytes) = self.read_cached() {
                return self.sent(bytes);
            }
        }
        if self.reading.is_none() {
            self.read_ahead();
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other).flatten();
        self.reading = None;
        match read {
            Ok(bytes) => {
                self.read_ahead();
                self.sent(bytes)
            }
            Err(error) => {
                self.next = self.end;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
