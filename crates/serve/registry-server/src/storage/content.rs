//! Content on its way to a client: the next portion is read while the last one is sent.
//!
//! Portions are the smaller the more clients there are, so that all together hold a known amount of memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use registry::Bucket;
use tokio::task::JoinHandle;

use super::objects;
use crate::answer::Body;

/// What the portions of all answers may hold together; each has one that is read and one that is sent.
const BUDGET: usize = 32 << 20;
const PORTION_MIN: usize = 16 << 10;
const PORTION_MAX: usize = 512 << 10;

/// Counts the answers that send content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<AtomicUsize>);

impl Flow {
    fn join(&self) -> Seat {
        self.0.fetch_add(1, Ordering::Relaxed);
        Seat(self.clone())
    }
}

/// One of those.
#[derive(Debug)]
struct Seat(Flow);

impl Seat {
    fn portion(&self) -> usize {
        let answers = self.0.0.load(Ordering::Relaxed).max(1);
        (BUDGET / 2 / answers).clamp(PORTION_MIN, PORTION_MAX)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
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
        FileBody { file, next, end, left, reading: None, seat: flow.join() }.boxed_unsync()
    }
}

struct FileBody {
    file: Arc<File>,
    /// Where the next read begins.
    next: u64,
    end: u64,
    /// Bytes that were not handed out.
    left: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    seat: Seat,
}

impl FileBody {
    /// Begins to read the next portion, if there is one.
    fn read_ahead(&mut self) {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let (count, at) = (self.seat.portion().min(left), self.next);
        if count == 0 {
            return;
        }
        let file = self.file.clone();
        self.next += count as u64;
        self.reading = Some(tokio::task::spawn_blocking(move || portion(&file, at, count)));
    }
}

/// Exactly so many bytes: content that has become shorter is no content.
pub(crate) fn portion(file: &File, mut at: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
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
        if self.reading.is_none() {
            self.read_ahead();
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other).flatten();
        self.reading = None;
        match read {
            Ok(bytes) => {
                self.left -= bytes.len() as u64;
                self.read_ahead();
                Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
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
