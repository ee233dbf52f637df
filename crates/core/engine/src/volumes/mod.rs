//! Volumes: named directories that outlive containers.
//!
//! ```text
//! <root>/volumes/<name>/_data/         what containers see
//! <root>/volumes/<name>/provisional    without a definition this volume is garbage; which container is being made with it
//! <root>/volumes/<name>/fill…          the image's content on its way to `_data`, see `copy_up`
//! ```
//!
//! The only driver is `local`. Its options `type=none,o=bind,device=/path` make the volume stand for a directory of the
//! host; any other option is an error. A volume is first made on disk and then known, first forgotten and then deleted: a crash
//! between leaves a directory that nothing names, which `system check` finds. Data without a definition is deleted only
//! where it says itself that it is provisional: anything else may be somebody's.

mod copy_up;
mod create;
mod inspect;
mod list;
mod prune;
mod remove;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::volumes::Volume;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::{Engine, lock};

pub(crate) use copy_up::{copy_up, resume};
pub use create::create;
pub(crate) use create::{Draft, Provisional, ensure};
pub use inspect::inspect;
pub use list::list;
pub use prune::prune;
pub use remove::remove;
pub(crate) use remove::{Forgotten, forget, remove_unused};

/// The file that says that a volume's directory is of no worth as long as no definition names it.
const PROVISIONAL: &str = "provisional";

/// The part of a volume's definition that is one JSON text in the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// A volume as defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub name: String,
    pub created: i64,
    pub anonymous: bool,
    pub document: Document,
}

impl TryFrom<state::volumes::Volume> for Record {
    type Error = Error;

    fn try_from(row: state::volumes::Volume) -> Result<Record> {
        let document = serde_json::from_str(&row.document)
            .during(format_args!("read the stored definition of volume {}", row.name))?;
        Ok(Record { name: row.name, created: row.created, anonymous: row.anonymous, document })
    }
}

impl Record {
    /// What containers see of it.
    pub fn data(&self, engine: &Engine) -> PathBuf {
        match self.document.options.get("device") {
            Some(device) => PathBuf::from(device),
            None => dir(engine, &self.name).join("_data"),
        }
    }

    /// As the API reports it.
    pub fn volume(&self, engine: &Engine) -> Volume {
        let at = Timestamp::from_nanosecond(i128::from(self.created)).unwrap_or_default();
        Volume {
            created_at: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            driver: "local".to_owned(),
            labels: self.document.labels.clone(),
            mountpoint: dir(engine, &self.name).join("_data").to_string_lossy().into_owned(),
            name: self.name.clone(),
            options: self.document.options.clone(),
            scope: "local".to_owned(),
            ..Volume::default()
        }
    }
}

/// `<root>/volumes/<name>`. The name is of the restricted set, so it cannot lead elsewhere.
pub(crate) fn dir(engine: &Engine, name: &str) -> PathBuf {
    engine.config().root.join("volumes").join(name)
}

/// The volume of this name.
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Record> {
    let row = engine.db().read(|tx| state::volumes::get(tx, name))?;
    row.ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))?.try_into()
}

/// Whether a directory that no definition names may go: it was left by a creation or a removal that was broken off.
/// Whoever makes it holds the lock of the container that it is for.
pub(crate) fn is_abandoned(engine: &Engine, name: &str) -> Result<bool> {
    let path = dir(engine, name);
    match std::fs::read_to_string(path.join(PROVISIONAL)) {
        Ok(maker) if maker.is_empty() => Ok(true),
        Ok(maker) => Ok(!lock::is_held(&engine.container_run_dir(&maker).join("lock"))?),
        Err(_) => Ok(path.join("_data").read_dir().map_or(true, |mut entries| entries.next().is_none())),
    }
}

/// Whether it is just being made or removed.
pub(crate) fn is_provisional(engine: &Engine, name: &str) -> bool {
    dir(engine, name).join(PROVISIONAL).exists()
}

/// Bytes of all files below a directory, each inode once.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::HashSet::new();
    let mut pending = vec![path.to_owned()];
    let mut total = 0;
    while let Some(dir) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                pending.push(entry.path());
            } else if meta.nlink() < 2 || seen.insert((meta.dev(), meta.ino())) {
                total += meta.len();
            }
        }
    }
    total
}
