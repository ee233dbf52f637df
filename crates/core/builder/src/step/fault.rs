//! What goes wrong in a step, with the step's place and what to do about it.

use crate::error::{BoxError, Error, StepError};
use crate::files;
use crate::graph::{MountKind, Op, OpKind, Origin};
use crate::session::Session;
use std::io::ErrorKind;

/// What to do where a disk is full.
const ROOM: &str = "the disk is full: builder prune makes room, and system df shows what takes it";

/// What failed below the step, with the step's place.
pub fn at_step(session: &Session<'_>, op: &Op, error: Error) -> Error {
    let (message, source): (String, BoxError) = match error {
        Error::Step(step) => return Error::Step(step),
        Error::Store { attempt, source } => (attempt.into(), source),
        Error::State(error) => ("build cache".into(), error.into()),
        Error::Io { attempt, path, source } => (format!("{attempt} {}", path.display()), source.into()),
        other => return other,
    };
    let hint = is_full(&*source).then(|| ROOM.to_owned());
    Error::Step(Box::new(StepError { hint, source: Some(source), ..*session.step_error(op, message) }))
}

/// Whether there was no room for something.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    causes.any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| full.contains(&e.kind())))
}

/// A file error as an error of the step.
pub fn file_error(session: &Session<'_>, op: &Op, error: files::Error) -> Error {
    if matches!(error, files::Error::Cancelled) {
        return Error::Cancelled;
    }
    let hint = match &error {
        files::Error::NotFound { ignored, near, .. } => missing(op, *ignored, near.as_deref()),
        error => is_full(error).then(|| ROOM.to_owned()),
    };
    let message = match &error {
        files::Error::NotFound { .. } => format!("failed to calculate checksum of ref: {error}"),
        _ => error.to_string(),
    };
    let source = std::error::Error::source(&error).is_some().then(|| error.into());
    let source = source.filter(|_| !message.is_empty());
    Error::Step(Box::new(StepError { hint, source, ..*session.step_error(op, message) }))
}

/// What to do about a source that is not there.
fn missing(op: &Op, ignored: Option<u32>, near: Option<&str>) -> Option<String> {
    let is_context = reads_context(op);
    let ignored = ignored.map(|line| format!("line {line} of the ignore file leaves it out"));
    let near = near.map(|near| format!("did you mean {}{near}?", if is_context { "" } else { "/" }));
    match (ignored, near) {
        (Some(ignored), Some(near)) => Some(format!("{ignored}; {near}")),
        (None, None) if is_context => {
            Some("paths are relative to the build context, and nothing outside of it can be copied".into())
        }
        (one, other) => one.or(other),
    }
}

fn reads_context(op: &Op) -> bool {
    match &op.kind {
        OpKind::Copy(copy) => matches!(copy.from, Origin::Context(_)),
        OpKind::Run(run) => {
            run.mounts.iter().any(|m| m.kind == MountKind::Bind && matches!(m.from, Origin::Context(_)))
        }
        OpKind::Mkdir(_) | OpKind::Change(_) | OpKind::Stack(_) => false,
    }
}
