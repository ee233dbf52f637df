//! Content that is not what its name says: moved aside, so that nobody uses it again, and kept for a while for whoever wants to
//! know what has happened.
//!
//! `quarantine/<seconds>-<blob or layer>-<hex>` has it; the seconds are those since 1970 when it was found. What refers to it has
//! nothing there then, as if it had never come: pulling fetches it again. The collector takes it after [`KEPT`].

use crate::lease::remove;
use crate::{Error, Store, sync_dir};
use oci::{ChainId, Digest};
use rustix::fs::{Mode, OFlags};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long it is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

impl Store {
    fn quarantine_dir(&self) -> PathBuf {
        self.root().join("quarantine")
    }

    /// Moves a blob aside, if it is still the file that was found damaged: somebody may have written it anew.
    pub(crate) fn quarantine_blob(&self, digest: &Digest, found: &File) -> Result<(), Error> {
        self.quarantine(&self.blob_path(digest), &format!("blob-{}", digest.hex()), found)
    }

    /// Moves a layer aside, if it is still the directory that was found damaged. Root file systems that have it mounted keep it.
    pub(crate) fn quarantine_layer(&self, chain: &ChainId, found: &File) -> Result<(), Error> {
        self.quarantine(&self.layer_dir(chain), &format!("layer-{}", chain.0.hex()), found)
    }

    /// The directory of a layer, to tell it from another one that takes its place.
    pub(crate) fn open_layer_dir(&self, chain: &ChainId) -> Result<File, Error> {
        let path = self.layer_dir(chain);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        opened.map(File::from).map_err(|error| Error::io("open", &path)(error.into()))
    }

    fn quarantine(&self, path: &Path, name: &str, found: &File) -> Result<(), Error> {
        let directory = self.quarantine_dir();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(Error::io("make", &directory))?;
        let failed = || Error::io("move away", path);
        let wanted = found.metadata().map_err(failed())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let target = directory.join(format!("{now}-{name}"));
        // Whoever gives content its name does so inside a transaction, too.
        let moved = self.db().write_fleeting(|_| {
            let here = match std::fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                other => other.map_err(failed())?,
            };
            if (here.dev(), here.ino()) != (wanted.dev(), wanted.ino()) {
                return Ok(false);
            }
            // Of the same second, one is enough to look at.
            remove(&target)?;
            std::fs::rename(path, &target).map(|()| true).map_err(failed())
        })?;
        match (moved, path.parent()) {
            (true, Some(parent)) => sync_dir(parent),
            _ => Ok(()),
        }
    }

    /// What lies in quarantine, and since when.
    pub(crate) fn quarantined(&self) -> Result<Vec<(PathBuf, SystemTime)>, Error> {
        let directory = self.quarantine_dir();
        let failed = || Error::io("list", &directory);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed())?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name();
            let seconds = name.to_string_lossy().split('-').next().and_then(|text| text.parse().ok());
            let since = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.unwrap_or(0)));
            found.push((entry.path(), since.unwrap_or(UNIX_EPOCH)));
        }
        Ok(found)
    }

    /// Removes what has been in quarantine long enough; all of it if that is wanted. How much there was of it.
    pub fn empty_quarantine(&self, all: bool) -> Result<u64, Error> {
        let mut gone = 0;
        for (path, since) in self.quarantined()? {
            if all || since.elapsed().is_ok_and(|age| age >= KEPT) {
                remove(&path)?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}
