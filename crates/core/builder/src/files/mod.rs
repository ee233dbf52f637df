//! Files of contexts, stages and images: finding them, digesting them, copying them.
//!
//! Every path goes through [`sys::root::Root`], on the reading side and on the writing side: neither a link in the
//! context nor one in the image leads out of it.

mod archive;
mod bulk;
pub mod copy;
pub mod digest;
pub mod index;
pub mod listing;
pub mod make;
mod near;
pub mod plan;
pub mod real;
pub mod select;
pub mod share;
mod sparse;
pub mod walk;

use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A file operation that failed, with the path in the tree that it was about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{attempt} {}", path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A source that is not there.
    #[error("{path:?}: not found")]
    NotFound {
        /// As the Dockerfile names it.
        path: String,
        /// The ignore file leaves it out (by this line of it).
        ignored: Option<u32>,
        /// A path of the same tree that it may have been meant for.
        near: Option<String>,
    },
    /// A pattern that means nothing.
    #[error("{pattern:?}: syntax error in pattern")]
    Pattern {
        /// The pattern.
        pattern: String,
    },
    /// A pattern of `--exclude` that means nothing.
    #[error("--exclude")]
    Exclude(#[from] dockerfile::ignore::Error),
    /// What is there is in the way.
    #[error("{message}")]
    Conflict {
        /// BuildKit's words.
        message: String,
    },
    /// More links than any honest path has.
    #[error("too many symbolic links in {}", path.display())]
    Links {
        /// The path.
        path: PathBuf,
    },
    /// The build was cancelled.
    #[error("build canceled")]
    Cancelled,
}

impl Error {
    /// A source that is not there, as the Dockerfile names it.
    pub(crate) fn not_found(path: impl Into<String>, ignored: Option<u32>) -> Self {
        Error::NotFound { path: path.into(), ignored, near: None }
    }
}

/// How a file is opened to be read: whatever has been put in its place is not followed and not waited for.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a file to be read, without a note of when if its owner is who asks: notes of twenty thousand files have to be written
/// out as well.
fn open_to_read(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> io::Result<File> {
    match open(READ | OFlags::NOATIME) {
        Err(Errno::PERM) => Ok(open(READ)?.into()),
        other => Ok(other?.into()),
    }
}

/// What became of two threads that share some work: those that were stopped because another one failed know no reason.
fn joined(one: Result<(), Error>, other: Result<(), Error>) -> Result<(), Error> {
    match (one, other) {
        (Ok(()), other) => other,
        (Err(Error::Cancelled), Err(other)) => Err(other),
        (one, _) => one,
    }
}

/// Adds attempt and path to an error of the system.
pub(crate) fn io(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { attempt, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_stopped_does_not_hide_why() {
        let full = || io("write", "f")(io::Error::from(io::ErrorKind::StorageFull));
        let said = |one, other| joined(one, other).map_err(|e| e.to_string());
        assert_eq!(said(Err(Error::Cancelled), Err(full())), Err("write f".to_owned()));
        assert_eq!(said(Err(full()), Err(Error::Cancelled)), Err("write f".to_owned()));
        assert_eq!(said(Ok(()), Err(full())), Err("write f".to_owned()));
        assert_eq!(said(Err(Error::Cancelled), Ok(())), Err("build canceled".to_owned()));
        assert_eq!(said(Ok(()), Ok(())), Ok(()));
    }
}
