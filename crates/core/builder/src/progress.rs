//! Handing events to the caller from many threads, and what a step tells about itself.

use crate::error::Error;
use crate::event::{Event, Stream};
use oci::ChainId;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a step says that was stopped, because another one failed or somebody ended the build.
const CANCELLED: &str = "canceled";

/// The caller's sink, for many threads.
pub(crate) struct Progress<'a> {
    sink: &'a (dyn Fn(Event) + Sync),
    next: AtomicU64,
}

/// A sink that takes one event at a time. A slow caller slows the steps down, which bounds memory.
pub(crate) fn in_turn(sink: &mut (dyn FnMut(Event) + Send)) -> impl Fn(Event) + Sync {
    let sink = Mutex::new(sink);
    move |event| {
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        (*sink)(event);
    }
}

impl<'a> Progress<'a> {
    pub fn new(sink: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self { sink, next: AtomicU64::new(1) }
    }

    pub fn send(&self, event: Event) {
        (self.sink)(event);
    }

    /// Begins a step that works on no other's result.
    pub fn step(&self, name: &str, stage: &str, instruction: &str) -> Step<'_, 'a> {
        self.step_on(Vec::new(), name, stage, instruction)
    }

    /// Begins a step that works on the results of these.
    pub fn step_on(&self, inputs: Vec<u64>, name: &str, stage: &str, instruction: &str) -> Step<'_, 'a> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.send(Event::StepStarted {
            id,
            name: name.into(),
            stage: stage.into(),
            instruction: instruction.into(),
            inputs,
        });
        Step { progress: self, id, began: Instant::now(), was_cached: AtomicBool::new(false) }
    }
}

/// A step that has begun.
pub(crate) struct Step<'p, 'a> {
    progress: &'p Progress<'a>,
    pub id: u64,
    began: Instant,
    was_cached: AtomicBool,
}

impl Step<'_, '_> {
    pub fn cached(&self, layers: Option<&ChainId>) {
        self.was_cached.store(true, Ordering::Relaxed);
        self.progress.send(Event::StepCached { id: self.id, layers: layers.cloned() });
    }

    /// Whether its result was there.
    pub fn was_cached(&self) -> bool {
        self.was_cached.load(Ordering::Relaxed)
    }

    pub fn missed(&self, reasons: Vec<String>) {
        self.progress.send(Event::StepMissed { id: self.id, reasons });
    }

    pub fn noted(&self, note: &str) {
        self.progress.send(Event::StepNote { id: self.id, note: note.into() });
    }

    /// A part of it is done.
    pub fn status(&self, name: String) {
        self.progress.send(Event::StepStatus { id: self.id, name });
    }

    /// A line that is no program's, of what takes long.
    pub fn line(&self, line: &str) {
        self.log(Stream::Stderr, format!("{line}\n"));
    }

    pub fn log(&self, stream: Stream, text: String) {
        self.progress.send(Event::StepLog { id: self.id, stream, text });
    }

    pub fn done(&self) {
        self.made(None);
    }

    /// It has ended well, with this file system.
    pub fn made(&self, layers: Option<&ChainId>) {
        let millis = self.began.elapsed().as_millis() as u64;
        self.progress.send(Event::StepDone { id: self.id, millis, layers: layers.cloned() });
    }

    /// It has ended with this error, or because the build was stopped for another reason.
    pub fn ended_by(&self, error: &Error) {
        self.failed(match error {
            Error::Cancelled => CANCELLED.to_owned(),
            error => error.chain(),
        });
    }

    pub fn failed(&self, message: String) {
        self.progress.send(Event::StepError { id: self.id, message });
    }
}
