//! What lies elsewhere: git repositories and what servers give for a URL, for contexts and for `ADD`.
//!
//! Whoever answers is a stranger: what comes is bounded in size, number and time, lands in a scratch directory, and is read
//! through [`sys::root::Root`] alone.

pub mod facts;
pub mod git;
mod git_program;
pub mod git_url;
mod materials;
pub mod url;

pub use git_url::{CommitId, GitUrl};
pub(crate) use materials::Materials;

use crate::error::BoxError;
use std::io;

/// Something elsewhere that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no address of a repository.
    #[error("invalid git reference {url}: {reason}")]
    GitUrl {
        /// As it was given, without a password.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// It is a directory of this machine, whose files the one who builds may not read.
    #[error("repository {url}: a directory of the server cannot be named from here")]
    Local {
        /// The repository.
        url: String,
    },
    /// There is no `git` on this machine.
    #[error("git is not installed on this machine, and {url} is a git repository")]
    NoGit {
        /// The repository.
        url: String,
    },
    /// The program could not be run.
    #[error("run git {verb}")]
    Run {
        /// What it should have done.
        verb: String,
        /// Why it could not.
        source: io::Error,
    },
    /// The program said no.
    #[error("git {verb} of {url}: {message}")]
    Git {
        /// What it tried.
        verb: String,
        /// The repository.
        url: String,
        /// Its last words.
        message: String,
    },
    /// The repository has nothing of that name.
    #[error("repository {url} does not contain ref {name}")]
    NoRef {
        /// The repository.
        url: String,
        /// Branch, tag or commit.
        name: String,
    },
    /// The commit is another one.
    #[error("{url}: expected commit {expected}, found {found}")]
    Commit {
        /// The repository.
        url: String,
        /// As the Dockerfile has it.
        expected: String,
        /// What the name stands for.
        found: String,
    },
    /// The repository is larger than anybody's honest one.
    #[error("{url}: {what}")]
    TooLarge {
        /// The repository.
        url: String,
        /// The limit that was passed.
        what: String,
    },
    /// The directory that the address names is not there.
    #[error("{url}: no directory {path:?} in the repository")]
    NoDirectory {
        /// The repository.
        url: String,
        /// The directory.
        path: String,
    },
    /// The system refused something.
    #[error("{attempt} {path}")]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A server did not give what its address names.
    #[error("failed to load {url}")]
    Fetch {
        /// The address, without a password.
        url: String,
        /// Why.
        source: BoxError,
    },
    /// The client did not say whether it has what opens the repository.
    #[error("ask the client for what opens {url}")]
    Ask {
        /// The address, without a password.
        url: String,
        /// Why.
        source: BoxError,
    },
    /// What came is not what the Dockerfile says.
    #[error("digest mismatch {found}: {expected}")]
    Checksum {
        /// As the Dockerfile has it.
        expected: String,
        /// What came.
        found: oci::Digest,
    },
    /// The archive that came is bad.
    #[error("unpack {url}")]
    Archive {
        /// The address.
        url: String,
        /// Why.
        source: BoxError,
    },
    /// The database refused.
    #[error("cache of addresses")]
    State(#[from] state::Error),
    /// The build was cancelled.
    #[error("build canceled")]
    Cancelled,
}

/// Adds attempt and path to an error of the system.
pub(crate) fn io(attempt: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Io { attempt, path, source }
}
