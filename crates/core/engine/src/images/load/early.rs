//! The layers of an archive, unpacked side by side while the rest of it is still coming in.
//!
//! Who takes the archive apart hands each blob over as soon as it is written: a worker puts it into the batch, and unpacks it if it
//! looks like a layer. Documents, which say what is a layer, may well be the last that an
//! archive has; what was unpacked and turns out to be none goes with the lease.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use api::JsonMessage;
use api::common::Progress;
use oci::Digest;
use store::{Batch, BlobWriter, Store, Unpacked};

use crate::error::{Context as _, Error, Result};
use crate::images::report::{self, Report};
use crate::privileges;

/// Blobs that may wait to be kept: each is an open file.
const WAITING: usize = 8;
/// Bytes between two lines about a layer's progress.
const EVERY: u64 = 512 << 10;

/// The work that goes on beside the archive.
pub(super) struct Early<'a> {
    store: &'a Store,
    batch: &'a Batch,
    /// Where progress is told, if anybody wants to know.
    report: Option<&'a Report>,
    state: Mutex<State<'a>>,
    changed: Condvar,
    over: AtomicBool,
}

#[derive(Default)]
struct State<'a> {
    blobs: VecDeque<New<'a>>,
    /// Blobs that were handed over and are not kept yet.
    unkept: usize,
    /// Layers to unpack.
    queue: VecDeque<Digest>,
    /// None while it is queued or under way.
    layers: HashMap<Digest, Option<Result<Unpacked>>>,
    /// Why nothing can come of it any more.
    failed: Option<Error>,
    closed: bool,
}

/// A blob whose digest was computed, and so need not be computed again.
struct New<'a> {
    digest: Digest,
    writer: BlobWriter<'a>,
    unpack: bool,
}

enum Job<'a> {
    Keep(New<'a>),
    Unpack(Digest),
}

impl<'a> Early<'a> {
    /// Workers are there while `work` runs, which gets the place to hand blobs to.
    pub fn with<T>(
        store: &'a Store,
        batch: &'a Batch,
        report: Option<&'a Report>,
        work: impl FnOnce(&Early<'a>) -> T,
    ) -> T {
        let (state, changed, over) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let early = Early { store, batch, report, state, changed, over };
        // One more than cores: some of them wait for the disk.
        let workers = std::thread::available_parallelism().map_or(2, usize::from) + 1;
        std::thread::scope(|scope| {
            let _close = Close(&early);
            for _ in 0..workers {
                scope.spawn(|| early.serve());
            }
            work(&early)
        })
    }

    /// Keeps a blob. If it may be a layer, it is unpacked, too.
    pub fn keep(&self, digest: Digest, writer: BlobWriter<'a>, unpack: bool) {
        let mut state = self.state();
        while state.blobs.len() >= WAITING && state.failed.is_none() {
            state = self.wait(state);
        }
        state.unkept += 1;
        state.blobs.push_back(New { digest, writer, unpack });
        self.changed.notify_all();
    }

    /// Waits until all that was handed over is kept.
    pub fn all_kept(&self) -> Result<()> {
        let mut state = self.state();
        while state.unkept > 0 && state.failed.is_none() {
            state = self.wait(state);
        }
        state.failed.take().map_or(Ok(()), Err)
    }

    /// Begins to unpack layers that will be asked for.
    pub fn want<'d>(&self, layers: impl IntoIterator<Item = &'d Digest>) {
        let mut state = self.state();
        for digest in layers {
            state.want(digest);
        }
        self.changed.notify_all();
    }

    /// The files of a layer whose blob is here.
    pub fn take(&self, digest: &Digest) -> Result<Unpacked> {
        let mut state = self.state();
        state.want(digest);
        self.changed.notify_all();
        loop {
            if let Some(Some(_)) = state.layers.get(digest) {
                return state.layers.remove(digest).flatten().unwrap_or_else(|| Err(died()));
            }
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            state = self.wait(state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        // It is never left between two states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State<'a>>) -> MutexGuard<'s, State<'a>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let _alarm = Alarm(self);
        while let Some(job) = self.next() {
            match job {
                Job::Keep(new) => self.keep_now(new),
                Job::Unpack(digest) => {
                    let unpacked = self.unpack(&digest);
                    self.state().layers.insert(digest, Some(unpacked));
                }
            }
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Job<'a>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(new) = state.blobs.pop_front() {
                // There is room for another.
                self.changed.notify_all();
                return Some(Job::Keep(new));
            }
            if let Some(digest) = state.queue.pop_front() {
                return Some(Job::Unpack(digest));
            }
            state = self.wait(state);
        }
    }

    fn keep_now(&self, new: New<'a>) {
        let kept = self.batch.add_blob(new.writer, Some(&new.digest));
        let mut state = self.state();
        state.unkept -= 1;
        match kept {
            Ok(_) if new.unpack => state.want(&new.digest),
            Ok(_) => {}
            Err(error) => {
                state.failed.get_or_insert(error.into());
            }
        }
    }

    fn unpack(&self, digest: &Digest) -> Result<Unpacked> {
        let file = self.batch.open_blob(digest)?;
        let total = file.metadata().during("read a layer")?.len();
        let source = Counted { file, count: 0, next: 0, total, id: digest.short(), early: self };
        self.store.unpack_as(self.batch.lease(), source, Some(digest)).map_err(|error| match error {
            error if privileges::for_files(&error).is_some() => error.into(),
            error @ store::Error::Archive { .. } => {
                Error::invalid(format!("invalid archive: {}", crate::error::chain(&error)))
            }
            error => error.into(),
        })
    }
}

impl State<'_> {
    fn want(&mut self, digest: &Digest) {
        if !self.layers.contains_key(digest) {
            self.layers.insert(digest.clone(), None);
            self.queue.push_back(digest.clone());
        }
    }
}

/// Sends the workers home.
struct Close<'e, 'a>(&'e Early<'a>);

impl Drop for Close<'_, '_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        self.0.state().closed = true;
        self.0.changed.notify_all();
    }
}

/// Whoever waits for a worker hears of its death.
struct Alarm<'e, 'a>(&'e Early<'a>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().failed.get_or_insert(died());
            self.0.changed.notify_all();
        }
    }
}

fn died() -> Error {
    Error::system("a thread that unpacked a layer has died")
}

/// A layer's file that tells how far it was read, and ends when nobody wants it any more.
struct Counted<'e, 'a> {
    file: File,
    count: u64,
    next: u64,
    total: u64,
    id: &'e str,
    early: &'e Early<'a>,
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.early.over.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let read = self.file.read(buffer)?;
        self.count += read as u64;
        self.early.batch.wrote(read as u64);
        if let Some(report) = self.early.report
            && (self.count >= self.next || read == 0)
        {
            self.next = self.count + EVERY;
            let progress: Progress = report::bytes(self.count, self.total);
            report.hint(JsonMessage::part(self.id, "Loading layer", progress));
        }
        Ok(read)
    }
}
