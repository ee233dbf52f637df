//! What of this machine a build's client may name by its path.

use crate::error::{Error, Kind, Result};

/// How far a client reaches into this machine: who may not read its files by himself gets at none of them by a build that names
/// them, be they caches, layouts or repositories. Told by whoever knows the other end of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// No file: the client is on another machine, or of another user.
    #[default]
    Nothing,
    /// Every file that this process can read.
    Files,
}

impl Reach {
    /// Refuses who may name no file.
    pub fn files(self) -> Result<()> {
        match self {
            Reach::Files => Ok(()),
            Reach::Nothing => {
                Err(Error::new(Kind::Forbidden, "a directory of the server cannot be named from here"))
            }
        }
    }
}
