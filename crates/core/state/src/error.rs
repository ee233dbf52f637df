//! What can go wrong with the database.

use std::path::PathBuf;

/// A failed attempt at the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be opened or prepared.
    #[error("open database {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file can't be closed to other users.
    #[error("make database {path} private")]
    Private {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file was written by a newer version of this program.
    #[error("database {path} has schema version {found}, this program knows up to {known}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The file is empty or missing although there are things that it should know.
    #[error(
        "database {path} is empty, although there is what it should know of: put it back, or delete all that lies beside it to begin anew"
    )]
    Emptied {
        /// The file.
        path: PathBuf,
    },
    /// Something of that name exists already, or what it refers to doesn't.
    #[error("{what} conflicts with what is there")]
    Conflict {
        /// The noun and its name.
        what: String,
        /// The constraint.
        #[source]
        source: rusqlite::Error,
    },
    /// A statement failed.
    #[error("{attempt}")]
    Sql {
        /// What was attempted, on what.
        attempt: String,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A stored document can't be read.
    #[error("stored {what} is damaged")]
    Damaged {
        /// The noun and its name.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Error {
        Error::sql("query", "the database")(source)
    }
}

impl Error {
    /// Whether a uniqueness constraint is why.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Conflict { .. })
    }

    /// Classifies what SQLite answered to an attempt on `what`: a broken uniqueness constraint is a conflict.
    pub(crate) fn sql(attempt: &str, what: &str) -> impl FnOnce(rusqlite::Error) -> Error {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => {
                Error::Conflict { what: what.to_owned(), source }
            }
            _ => Error::Sql { attempt: format!("{attempt} {what}"), source },
        }
    }
}
