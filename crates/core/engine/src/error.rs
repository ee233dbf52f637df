//! The one error of the engine's edge.
//!
//! Below the engine each module has its own typed error whose `Display` leaves its source out. Here they become
//! what a client of the Docker Engine API can act on: a [`Kind`] from Docker's closed set (the server maps it to a
//! status code), one message that holds the whole chain in Docker's words, and sometimes a hint on what to do.

use std::fmt;
use std::sync::Arc;

/// What kind of failure this is. Docker's closed set; each maps to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The named object does not exist (404).
    NotFound,
    /// The object's state or a name forbids it (409).
    Conflict,
    /// The request itself is wrong (400).
    InvalidParameter,
    /// Already in the wanted state (304).
    NotModified,
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// Understood and refused (403).
    Forbidden,
    /// Cannot be served now (503).
    Unavailable,
    /// This engine has no such capability (501).
    NotImplemented,
    /// Anything else (500).
    System,
    /// The caller went away.
    Cancelled,
}

/// A failed operation of the engine.
#[derive(Debug, Clone)]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// One line for the user: the whole chain of causes.
    pub message: String,
    /// What the user could do about it.
    pub hint: Option<String>,
    /// Where and how a build failed.
    pub build: Option<Arc<Failure>>,
}

/// Where and how a build failed, for clients that show it in their own way.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// The place in the Dockerfile.
    pub place: Option<builder::Place>,
    /// The process that failed.
    pub process: Option<builder::FailedProcess>,
    /// What the step has left.
    pub left: Option<Arc<builder::Left>>,
    /// Which operation of its graph it was.
    pub spot: Option<builder::Spot>,
    /// The image that could not be had.
    pub image: Option<String>,
}

/// Result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $( $(#[$doc])* pub fn $name(message: impl Into<String>) -> Error { Error::new(Kind::$kind, message) } )*
    };
}

impl Error {
    /// An error of `kind` with this message and no hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), hint: None, build: None }
    }

    constructors! {
        /// The named object does not exist.
        not_found => NotFound;
        /// The object's state or a name forbids it.
        conflict => Conflict;
        /// The request itself is wrong.
        invalid => InvalidParameter;
        /// Already in the wanted state.
        not_modified => NotModified;
        /// Understood and refused.
        forbidden => Forbidden;
        /// Cannot be served now.
        unavailable => Unavailable;
        /// Not a capability of this engine.
        not_implemented => NotImplemented;
        /// Any other failure.
        system => System;
        /// The caller went away.
        cancelled => Cancelled;
    }

    /// A system error that tells the whole chain of `error`.
    pub fn from_chain(error: &(dyn std::error::Error + 'static)) -> Error {
        Error {
            hint: builder::no_room(error).map(str::to_owned),
            ..Error::system(with_way_out(chain(error)))
        }
    }

    /// The message with the lines of the Dockerfile before it where it is a build's: what people are shown.
    pub fn report(&self) -> String {
        format!("{}{}", self.excerpt(), self.message)
    }

    /// The lines of the Dockerfile where a build failed, ready to be shown; empty where it was not in one.
    pub fn excerpt(&self) -> &str {
        let place = self.build.as_ref().and_then(|failure| failure.place.as_ref());
        place.map_or("", |place| &place.excerpt)
    }

    /// The process whose end is the failure of a build.
    pub fn process(&self) -> Option<&builder::FailedProcess> {
        self.build.as_ref()?.process.as_ref()
    }

    /// The same error with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with `what` before its message: `what: message`.
    pub fn within(mut self, what: impl fmt::Display) -> Error {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Error {
        Error::from_chain(&error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        let kind = match &error {
            store::Error::NoImage(_) | store::Error::Platform { .. } => Kind::NotFound,
            store::Error::Reference(_)
            | store::Error::Ambiguous(_)
            | store::Error::Artifact { .. }
            | store::Error::Nul { .. } => Kind::InvalidParameter,
            _ => Kind::System,
        };
        let (text, hint) = (chain(&error), builder::no_room(&error).map(str::to_owned));
        match crate::privileges::for_files(&error) {
            Some(missing) => Error::new(kind, format!("{text}: {missing}")),
            None => Error { hint, ..Error::new(kind, with_way_out(text)) },
        }
    }
}

impl From<api::filters::Error> for Error {
    fn from(error: api::filters::Error) -> Error {
        Error::invalid(error.to_string())
    }
}

impl From<monitor::client::Error> for Error {
    fn from(error: monitor::client::Error) -> Error {
        use monitor::protocol::FailureKind;
        let kind = match &error {
            monitor::client::Error::Failed(failure) => match failure.kind {
                FailureKind::NotRunning
                | FailureKind::Paused
                | FailureKind::Busy
                | FailureKind::ExecConflict => Kind::Conflict,
                FailureKind::AlreadyRunning => Kind::NotModified,
                FailureKind::NoSuchExec => Kind::NotFound,
                FailureKind::Invalid | FailureKind::Start => Kind::InvalidParameter,
                FailureKind::System => Kind::System,
            },
            _ => Kind::System,
        };
        Error::new(kind, chain(&error))
    }
}

/// What was said of a failure, with what to do about it where the kernel's word is not enough.
pub(crate) fn with_way_out(text: String) -> String {
    match crate::privileges::way_out(&text) {
        Some(way) => format!("{text}: {way}"),
        None => text,
    }
}

/// `error` and all its sources in one line, joined by `: `.
///
/// A source whose text the message before it already ends with is left out: some foreign error types repeat it.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Adds what was attempted to a lower layer's error and makes it the engine's.
pub trait Context<T> {
    /// `Err(e)` becomes a system error `what: e: source of e …`.
    fn during(self, what: impl fmt::Display) -> Result<T>;

    /// `Err(e)` becomes a system error with only its own chain.
    fn system(self) -> Result<T>;
}

impl<T, E: std::error::Error + 'static> Context<T> for std::result::Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::from_chain(&e).within(what))
    }

    fn system(self) -> Result<T> {
        self.map_err(|e| Error::from_chain(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("allocate address in 172.18.0.0/16")]
    struct Inner {
        #[source]
        source: std::io::Error,
    }

    #[test]
    fn who_has_a_full_disk_is_told_what_makes_room() {
        let io = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let store = store::Error::Io { attempt: "write", path: "/x".into(), source: io() };
        for error in [Error::from(store), Err::<(), _>(io()).during("fetch a layer").unwrap_err()] {
            assert!(error.hint.as_deref().unwrap_or_default().contains("makes room"), "{error:?}");
        }
        assert_eq!(Error::from_chain(&std::io::Error::other("cut")).hint, None);
    }

    #[test]
    fn a_chain_reads_as_a_sentence() {
        let inner = Inner { source: std::io::Error::other("pool is exhausted") };
        let result: Result<()> = Err(inner).during("connect to network front");
        assert_eq!(
            result.unwrap_err().within("start container web").message,
            "start container web: connect to network front: allocate address in 172.18.0.0/16: pool is exhausted"
        );
    }
}
