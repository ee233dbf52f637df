//! The builder's events as documents of the API.

use api::build::{BuildEvent, LogStream};
use builder::{Event, Stream};

/// The document of an event; none of what is only for a client that follows the Dockerfile line by line.
pub fn document(event: Event) -> Option<BuildEvent> {
    Some(match event {
        Event::Lines { .. } | Event::Stuck { .. } | Event::Image { .. } => return None,
        Event::StepMissed { reasons, .. } if reasons.is_empty() => return None,
        Event::StepStarted { id, name, stage, instruction, inputs } => {
            BuildEvent::StepStarted { id, name, stage, instruction, inputs }
        }
        Event::StepCached { id, .. } => BuildEvent::StepCached { id },
        Event::StepMissed { id, reasons } => BuildEvent::StepMissed { id, reasons },
        Event::StepNote { id, note } => BuildEvent::StepNote { id, note },
        Event::StepStatus { id, name } => BuildEvent::StepStatus { id, name },
        Event::StepLog { id, stream, text } => BuildEvent::StepLog { id, stream: log_stream(stream), text },
        Event::StepDone { id, millis, .. } => BuildEvent::StepDone { id, millis },
        Event::StepError { id, message } => BuildEvent::StepError { id, message },
        Event::StageSkipped { stage } => BuildEvent::StageSkipped { stage },
        Event::Warning { rule, message, file, span, help, excerpt } => {
            BuildEvent::Warning { rule, message, file, line: span.line, help, excerpt }
        }
    })
}

fn log_stream(stream: Stream) -> LogStream {
    match stream {
        Stream::Stdout => LogStream::Stdout,
        Stream::Stderr => LogStream::Stderr,
    }
}
