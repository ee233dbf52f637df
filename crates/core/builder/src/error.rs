//! Why a build failed, with the Dockerfile lines that say so.

use crate::graph::Run;
use crate::verify::{Difference, listed};
use dockerfile::Span;
use dockerfile::render::shortened;
use oci::ChainId;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;

/// An error of something that the caller plugged in.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A place in the Dockerfile, ready to be shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Place {
    /// The Dockerfile's name.
    pub file: String,
    /// Where in it.
    pub span: Span,
    /// The lines around, rendered.
    pub excerpt: String,
}

/// A failed step.
#[derive(Debug)]
pub struct StepError {
    /// The instruction.
    pub place: Place,
    /// The instruction's text.
    pub instruction: String,
    /// What went wrong, in BuildKit's words where it has them.
    pub message: String,
    /// The process that ended so.
    pub process: Option<FailedProcess>,
    /// The last lines of its output.
    pub output: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The cause below.
    pub source: Option<BoxError>,
    /// What it left, where that is kept.
    pub left: Option<Box<Left>>,
    /// Which operation it is, and what that worked on.
    pub spot: Option<Box<Spot>>,
}

/// A process that did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedProcess {
    /// Its words with spaces between; long ones are clipped.
    pub command: String,
    /// Its exit code.
    pub code: i32,
}

/// What a failed `RUN` left: whoever wants to look around there mounts the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Left {
    /// What ran, with the network that it had.
    pub run: Run,
    /// The file system as it was then.
    pub after: ChainId,
    /// The one that it began with; none is empty.
    pub before: Option<ChainId>,
    /// What each of the process' mounts began with, as layers and a path in them; none where that is nothing that is kept.
    pub mounts: Vec<Option<(ChainId, String)>>,
    /// What each that was written to held then, with the same path in it.
    pub mounts_after: Vec<Option<ChainId>>,
}

/// Where in its graph a step failed, and what it worked on: who made the graph can look at that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spot {
    /// The operation's number in its graph.
    pub op: usize,
    /// The layers of what it needs, in the order of [`crate::graph::Op::needs`]; none where that is empty.
    pub needs: Vec<Option<ChainId>>,
    /// A path that it was to read is not there.
    pub missing: Option<String>,
    /// Of several changes of files the number of the one that failed, and the file system before it where that is kept.
    pub change: Option<(usize, Option<ChainId>)>,
}

/// A failed build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile is wrong.
    #[error("dockerfile parse error on line {}: {message}", place.span.line)]
    Dockerfile {
        /// What is wrong.
        message: String,
        /// Where.
        place: Box<Place>,
        /// What to do.
        help: Option<String>,
    },
    /// The file's build checks, or what it says about them, end the build.
    #[error("{message}")]
    Checks {
        /// Which rules, or what is wrong with the settings.
        message: String,
    },
    /// There is no Dockerfile.
    #[error("failed to read dockerfile: open {name}: no such file or directory")]
    NoDockerfile {
        /// Its path in the context.
        name: String,
    },
    /// A process of a client's graph asks for what nobody has allowed.
    #[error("{what} is not allowed for {name:?}")]
    NotAllowed {
        /// The entitlement.
        what: &'static str,
        /// The process.
        name: String,
    },
    /// The time that shall stand for now is none.
    #[error("invalid SOURCE_DATE_EPOCH: {value}")]
    Epoch {
        /// As it was given.
        value: String,
        /// Where the Dockerfile has it.
        place: Option<Box<Place>>,
    },
    /// `--target` names nothing.
    #[error("target stage {name:?} could not be found")]
    NoTarget {
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// The ignore file is wrong.
    #[error("read {name}")]
    Ignore {
        /// Its path in the context.
        name: String,
        /// Why.
        source: dockerfile::ignore::Error,
    },
    /// A base image could not be had.
    #[error("failed to resolve source metadata for {reference}")]
    Image {
        /// The reference.
        reference: String,
        /// The `FROM` or `--from`.
        place: Box<Place>,
        /// The stage or context that may have been meant.
        near: Option<String>,
        /// Why.
        source: BoxError,
    },
    /// The layers of a base image did not come.
    #[error("failed to fetch the layers of {reference}")]
    Layers {
        /// The reference.
        reference: String,
        /// The `FROM` or `--from`.
        place: Box<Place>,
        /// Why.
        source: BoxError,
    },
    /// A step failed.
    #[error("{}", .0.message)]
    Step(#[source] Box<StepError>),
    /// A file operation of the builder itself.
    #[error("{attempt} {}", path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The context archive is bad.
    #[error("unpack build context")]
    Context(#[source] BoxError),
    /// A context that lies elsewhere.
    #[error("load build context {what}")]
    Remote {
        /// Its address.
        what: String,
        /// Why it could not be had.
        source: Box<crate::source::Error>,
    },
    /// A context that the client did not send.
    #[error("load build context{}{name} from the client", if name.is_empty() { "" } else { " " })]
    Sent {
        /// Its name; empty for the main one.
        name: String,
        /// Why.
        source: BoxError,
    },
    /// The source policy does not let a context through.
    #[error("evaluate the source policy")]
    Policy(#[source] BoxError),
    /// Two attestations have one name among files.
    #[error("duplicate attestation path name {name}")]
    Attestation {
        /// The name.
        name: String,
    },
    /// The provenance was to name all that was used, and cannot.
    #[error("provenance materials are incomplete: files of the client have no address: {}", locals.join(", "))]
    Materials {
        /// What the client calls its directories.
        locals: Vec<String>,
    },
    /// A cache that was not taken.
    #[error("export cache to {name}")]
    Cache {
        /// Where to.
        name: String,
        /// Why.
        source: BoxError,
    },
    /// A registry that did not take the result.
    #[error("push {name}")]
    Push {
        /// What it was to be called there.
        name: String,
        /// Why.
        source: BoxError,
    },
    /// The store refused.
    #[error("{attempt}")]
    Store {
        /// What was tried.
        attempt: &'static str,
        /// Why it failed.
        source: BoxError,
    },
    /// The database refused.
    #[error("build cache")]
    State(#[from] state::Error),
    /// The program that lists packages did not.
    #[error("generate sbom using {generator}")]
    Sbom {
        /// Its image.
        generator: String,
        /// What is wrong.
        source: BoxError,
    },
    /// The second build gave another image.
    #[error("the build is not reproducible: {}", listed(differences))]
    NotReproducible {
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The caller cancelled.
    #[error("build canceled")]
    Cancelled,
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}

/// An error and its causes in one line: `attempt: cause: cause`.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let line = cause.to_string();
        if !text.ends_with(&line) {
            let _ = write!(text, ": {line}");
        }
        source = cause.source();
    }
    shortened(&text).into_owned()
}

/// What to do where there was no room for something, if that is why.
pub fn no_room(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| full.contains(&e.kind()))
    };
    causes
        .any(is_full)
        .then_some("the disk is full: builder prune makes room, and system df shows what takes it")
}

impl Error {
    /// The place in the Dockerfile, where there is one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Error::Dockerfile { place, .. } | Error::Image { place, .. } | Error::Layers { place, .. } => {
                Some(place)
            }
            Error::Step(step) => Some(&step.place),
            Error::Epoch { place, .. } => place.as_deref(),
            _ => None,
        }
    }

    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Dockerfile { help, .. } => help.clone(),
            Error::Step(step) => step.hint.clone(),
            Error::NoTarget { name, known } if !known.is_empty() => {
                let near = dockerfile::nearest(name, known.iter().map(String::as_str));
                let near = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
                Some(format!("{near}stages are: {}", known.join(", ")))
            }
            Error::Image { near: Some(near), .. } => Some(format!("did you mean {near}?")),
            Error::Epoch { .. } => {
                Some("give seconds since 1970, context, or the name of a context or of a stage".into())
            }
            Error::Materials { .. } => Some(
                "build from a repository or an archive by its address, or leave complete-materials out"
                    .into(),
            ),
            Error::NotAllowed { what, .. } => Some(format!("allow it with --allow {what}")),
            Error::NoDockerfile { .. } => Some("name it with --file".into()),
            Error::NotReproducible { differences } => crate::verify::hint(differences),
            _ => None,
        }
    }

    /// The process that failed, where it was one.
    pub fn process(&self) -> Option<&FailedProcess> {
        match self {
            Error::Step(step) => step.process.as_ref(),
            _ => None,
        }
    }

    /// What the step that failed left.
    pub fn left(&self) -> Option<&Left> {
        match self {
            Error::Step(step) => step.left.as_deref(),
            _ => None,
        }
    }

    /// Which operation of the graph failed.
    pub fn spot(&self) -> Option<&Spot> {
        match self {
            Error::Step(step) => step.spot.as_deref(),
            _ => None,
        }
    }

    /// The image that could not be had, as the graph names it.
    pub fn image(&self) -> Option<&str> {
        match self {
            Error::Image { reference, .. } | Error::Layers { reference, .. } => Some(reference),
            _ => None,
        }
    }

    /// The error as a chain of one line: `attempt: cause: cause`.
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// The whole story for a terminal: the lines of the Dockerfile, the message, the hint.
    pub fn report(&self) -> String {
        let mut text = self.place().map(|p| p.excerpt.clone()).unwrap_or_default();
        let _ = writeln!(text, "{}", self.chain());
        if let Some(hint) = self.hint() {
            let _ = writeln!(text, "help: {hint}");
        }
        text
    }
}
