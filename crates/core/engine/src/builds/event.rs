//! The builder's events as documents of the API.

use api::build::{BuildEvent, LogStream};
use builder::{Event, Stream};

/// The document of an event.
pub fn document(event: Event) -> BuildEvent {
    match event {
        Event::StepStarted { id, name, stage, instruction } => {
            BuildEvent::StepStarted { id, name, stage, instruction }
        }
        Event::StepCached { id } => BuildEvent::StepCached { id },
        Event::StepMissed { id, reasons } => BuildEvent::StepMissed { id, reasons },
        Event::StepNote { id, note } => BuildEvent::StepNote { id, note },
        Event::StepLog { id, stream, text } => BuildEvent::StepLog { id, stream: log_stream(stream), text },
        Event::StepDone { id, millis } => BuildEvent::StepDone { id, millis },
        Event::StepError { id, message } => BuildEvent::StepError { id, message },
        Event::StageSkipped { stage } => BuildEvent::StageSkipped { stage },
        Event::Warning { rule, message, file, span, help, excerpt } => {
            BuildEvent::Warning { rule, message, file, line: span.line, help, excerpt }
        }
    }
}

fn log_stream(stream: Stream) -> LogStream {
    match stream {
        Stream::Stdout => LogStream::Stdout,
        Stream::Stderr => LogStream::Stderr,
    }
}
