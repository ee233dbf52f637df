//! What can be wrong with a Dockerfile, and what is merely suspicious.

use crate::render::shortened;
use crate::span::Span;
use serde::{Deserialize, Serialize};

/// A Dockerfile that cannot be read. The message is BuildKit's wherever BuildKit has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dockerfile parse error on line {}: {message}", span.line)]
pub struct Error {
    /// What is wrong, without the position.
    pub message: String,
    /// The place to point at.
    pub span: Span,
    /// What to do about it.
    pub help: Option<String>,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: shortened(&message.into()).into_owned(), span, help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shortened(&help.into()).into_owned());
        self
    }
}

/// Something that builds but probably does not do what its author thinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The rule's name, as `# check=skip=` spells it.
    pub rule: String,
    /// One sentence without a full stop.
    pub message: String,
    /// The place to point at.
    pub span: Span,
    /// What to write instead.
    pub help: Option<String>,
}
