//! Directories of clients' contexts that stay between builds, so that a client sends only what changed.
//!
//! ```text
//! <root>/contexts/<name><n>/       the files, as the client had them last
//!                 <name><n>.lock   held while a build fills and reads them; says in which run of the machine they were written
//! ```
//!
//! The name is a digest of what the client calls the directory, and a number: builds at once from the same directory have
//! a place each. Nothing is synced, so what was written before the machine started is not trusted. They are entries of the
//! build cache like any other ([`crate::entries`]).

use crate::error::Error;
use crate::session::{io_error, make_private};
use crate::turn;
use oci::Digest;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use sys::root::Root;

/// Where they are, below the platform's root.
pub(crate) const DIRECTORY: &str = "contexts";
/// Builds at once that have a place; others begin with nothing.
const PLACES: usize = 4;
/// Digits of a name.
const DIGITS: usize = 24;

/// A directory that is this build's alone until it is dropped.
pub struct Mirror {
    path: PathBuf,
    _lock: File,
}

impl Mirror {
    /// The directory of what is called so, which may hold files of before; none if too many builds use theirs.
    pub fn open(root: &Path, called: &str) -> Result<Option<Mirror>, Error> {
        let base = root.join(DIRECTORY);
        let name = Digest::sha256(called.as_bytes()).hex()[..DIGITS].to_owned();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        for place in 0..PLACES {
            let name = format!("{name}{place}");
            let lock = base.join(format!("{name}.lock"));
            let Some(mut file) = turn::lock(&base, &lock, FlockOperation::NonBlockingLockExclusive)? else {
                continue;
            };
            let path = base.join(&name);
            // What can't be read is no run of this machine.
            let written = std::fs::read_to_string(&lock).unwrap_or_default();
            if written != boot || boot.is_empty() {
                let root = Root::open(&base).map_err(io_error("open", &base))?;
                root.remove_all(&name).map_err(io_error("empty", &path))?;
                let noted = file.set_len(0).and_then(|()| file.write_all(boot.as_bytes()));
                noted.map_err(io_error("write", &lock))?;
            }
            match make_private(&path) {
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
                made => made?,
            }
            return Ok(Some(Mirror { path, _lock: file }));
        }
        Ok(None)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that it was used now.
    pub fn touch(&self) {
        // Else it goes a little sooner.
        let _ = File::open(&self.path).and_then(|directory| directory.set_modified(SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_for_the_next_build_and_are_nobody_elses_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        let open = |called: &str| Mirror::open(root.path(), called).unwrap();
        let first = open("app:host").unwrap();
        std::fs::write(first.path().join("a"), "1").unwrap();
        let second = open("app:host").unwrap();
        assert_ne!(first.path(), second.path());
        assert_ne!(open("other:host").unwrap().path(), first.path());
        let more: Vec<_> = (2..PLACES).map(|_| open("app:host").unwrap()).collect();
        assert!(open("app:host").is_none());
        drop((first, more));
        assert_eq!(std::fs::read(open("app:host").unwrap().path().join("a")).unwrap(), b"1");
    }

    #[test]
    fn files_of_another_run_of_the_machine_are_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let path = {
            let mirror = Mirror::open(root.path(), "x").unwrap().unwrap();
            std::fs::write(mirror.path().join("a"), "1").unwrap();
            mirror.path().to_owned()
        };
        let lock = PathBuf::from(format!("{}.lock", path.display()));
        std::fs::write(&lock, "another").unwrap();
        let again = Mirror::open(root.path(), "x").unwrap().unwrap();
        assert_eq!(again.path(), path);
        assert!(!path.join("a").exists());
        assert_ne!(std::fs::read_to_string(&lock).unwrap(), "another");
    }
}
