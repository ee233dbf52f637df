//! Progress: what a build tells while it works.

use dockerfile::Span;
use oci::{ChainId, Digest};

/// One message of a build. Steps run side by side, so everything about a step carries its id.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What is about to be done, once all is known of it.
    Lines {
        /// The instructions, in the order of the Dockerfile.
        lines: Vec<Line>,
    },
    /// An instruction cannot be done; nothing is.
    Stuck {
        /// Its number in the Dockerfile, from 1.
        number: usize,
        /// How many instructions there are.
        total: usize,
        /// The instruction as it stands in the Dockerfile.
        text: String,
    },
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
        /// The steps whose results it works on.
        inputs: Vec<u64>,
    },
    /// A step needs no work: its result was there.
    StepCached {
        /// See [`Event::StepStarted`].
        id: u64,
        /// The file system that it gives.
        layers: Option<ChainId>,
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
    /// A part of a step is done.
    StepStatus {
        /// See [`Event::StepStarted`].
        id: u64,
        /// What it was: `writing image sha256:…`.
        name: String,
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
        /// The file system that it gives.
        layers: Option<ChainId>,
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
    /// The image is there.
    Image {
        /// Its id; of several, that of the one for this machine.
        image: Digest,
        /// It was not here before.
        is_new: bool,
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

/// An instruction that is part of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The instruction as it stands in the Dockerfile.
    pub text: String,
    /// What it is.
    pub kind: LineKind,
    /// The line whose result it works on.
    pub on: Option<usize>,
    /// The name of the step that does its work, if there is any to do.
    pub step: Option<String>,
    /// What tells of an instruction without work whether it is new.
    pub told_by: Teller,
}

/// What an instruction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineKind {
    /// `ARG` above all stages.
    Argument,
    /// `FROM`.
    From {
        /// The id of the image that it names.
        image: Option<Digest>,
        /// How many instructions the image has for those that are made of it; they follow.
        triggers: usize,
    },
    /// Of a base image, for those that are made of it.
    Trigger,
    /// Any other.
    Instruction,
}

/// What tells of an instruction that only describes the image whether it was there before: the first work on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Teller {
    /// The step of this name.
    Step(String),
    /// There is none, but the image itself.
    Image,
    /// There is none, and nobody asks.
    Nobody,
}

/// A stream of a step's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
