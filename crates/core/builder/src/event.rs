//! Progress: what a build tells while it works. These documents travel to clients as JSON lines, so fields are only
//! ever added.

use dockerfile::Span;
use serde::{Deserialize, Serialize};

/// One message of a build. Steps run side by side, so everything about a step carries its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A step begins.
    StepStarted {
        /// Number of the step in this build, from 1.
        id: u64,
        /// What BuildKit would print: `[build 2/4] RUN go build`.
        name: String,
        /// The stage's name or index; empty for steps that belong to no stage.
        stage: String,
        /// The instruction as it stands in the Dockerfile; empty for internal steps.
        instruction: String,
    },
    /// A step needs no work: its result was there.
    StepCached {
        /// See [`Event::StepStarted`].
        id: u64,
    },
    /// Why a step could not be taken from the cache.
    StepMissed {
        /// See [`Event::StepStarted`].
        id: u64,
        /// Sentences such as `context file src/main.rs changed`.
        reasons: Vec<String>,
    },
    /// What was done with a step's result besides.
    StepNote {
        /// See [`Event::StepStarted`].
        id: u64,
        /// A sentence such as `put on another base without copying`.
        note: String,
    },
    /// Output of a step.
    StepLog {
        /// See [`Event::StepStarted`].
        id: u64,
        /// Which stream.
        stream: Stream,
        /// The text; bytes that are not UTF-8 are replaced.
        text: String,
    },
    /// A step has ended well.
    StepDone {
        /// See [`Event::StepStarted`].
        id: u64,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A step has failed; the build ends.
    StepError {
        /// See [`Event::StepStarted`].
        id: u64,
        /// One line.
        message: String,
    },
    /// A stage that nothing needs is not built.
    StageSkipped {
        /// Its name or number.
        stage: String,
    },
    /// Something that builds but is probably not meant so.
    Warning {
        /// The rule's name.
        rule: String,
        /// One sentence.
        message: String,
        /// The Dockerfile's name.
        file: String,
        /// Where.
        span: Span,
        /// What to do.
        help: Option<String>,
        /// The lines, rendered.
        excerpt: String,
    },
}

/// A stream of a step's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
