//! What goes wrong in a step, with the step's place and what to do about it.

use super::Inputs;
use crate::error::{BoxError, Error, Spot, StepError, no_room};
use crate::files;
use crate::graph::{MountKind, Op, OpKind, Origin};
use crate::session::Session;

/// What failed below the step, with the step's place.
pub fn at_step(session: &Session<'_>, op: &Op, error: Error) -> Result<Box<StepError>, Error> {
    let (message, source): (String, BoxError) = match error {
        Error::Step(step) => return Ok(step),
        Error::Store { attempt, source } => (attempt.into(), source),
        Error::State(error) => ("build cache".into(), error.into()),
        Error::Io { attempt, path, source } => (format!("{attempt} {}", path.display()), source.into()),
        other => return Err(other),
    };
    let hint = no_room(&*source).map(str::to_owned);
    Ok(Box::new(StepError { hint, source: Some(source), ..*session.step_error(op, message) }))
}

/// The same, with what the step worked on.
pub fn located(session: &Session<'_>, op: &Op, inputs: &Inputs, error: Error) -> Error {
    let mut step = match at_step(session, op, error) {
        Ok(step) => step,
        Err(other) => return other,
    };
    let spot = step.spot.get_or_insert_default();
    spot.op = session.graph.ops.iter().position(|known| std::ptr::eq(known, op)).unwrap_or_default();
    spot.needs = op.needs().into_iter().map(|fs| inputs.chain(session, op, fs)).collect();
    Error::Step(step)
}

/// A file error as an error of the step.
pub fn file_error(session: &Session<'_>, op: &Op, error: files::Error) -> Error {
    if matches!(error, files::Error::Cancelled) {
        return Error::Cancelled;
    }
    let hint = match &error {
        files::Error::NotFound { ignored, near, .. } => missing(op, *ignored, near.as_deref()),
        error => no_room(error).map(str::to_owned),
    };
    let message = match &error {
        files::Error::NotFound { .. } => format!("failed to calculate checksum of ref: {error}"),
        _ => error.to_string(),
    };
    let spot = match &error {
        files::Error::NotFound { path, .. } => {
            Some(Box::new(Spot { missing: Some(path.clone()), ..Spot::default() }))
        }
        _ => None,
    };
    let source = std::error::Error::source(&error).is_some().then(|| error.into());
    let source = source.filter(|_| !message.is_empty());
    Error::Step(Box::new(StepError { hint, source, spot, ..*session.step_error(op, message) }))
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
