//! What can go wrong with an archive.

use std::io;
use std::path::PathBuf;

/// A failed attempt at an archive or one of its entries.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream below failed.
    #[error("read archive")]
    Read(#[source] io::Error),
    /// The stream ended inside something.
    #[error("archive ends inside {0}")]
    Truncated(&'static str),
    /// The bytes are no archive.
    #[error("archive is damaged at byte {offset}: {problem}")]
    Damaged {
        /// Where the block starts.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An entry that is well-formed and not acceptable.
    #[error("entry {path:?}: {problem}")]
    Refused {
        /// Its name in the archive.
        path: PathBuf,
        /// Why it is refused.
        problem: String,
    },
    /// The system refused something for an entry.
    #[error("{attempt} {path:?}")]
    Entry {
        /// What was attempted.
        attempt: &'static str,
        /// Its name in the archive.
        path: PathBuf,
        /// Why it didn't work.
        #[source]
        source: io::Error,
    },
    /// The archive unpacks to more than its receiver allows.
    #[error("archive has more than {limit} {unit}")]
    TooLarge {
        /// How much is allowed.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The archive that is made can't be written.
    #[error("write archive")]
    Write(#[source] io::Error),
}

impl Error {
    pub(crate) fn entry(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Entry { attempt, path, source }
    }

    pub(crate) fn refused(path: impl Into<PathBuf>, problem: impl Into<String>) -> Error {
        Error::Refused { path: path.into(), problem: problem.into() }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}
