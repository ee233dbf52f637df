//! A container's definition as the engine keeps it, and how one is found.
//!
//! ```text
//! <root>/containers/<id>/   upper/ work/                     the writable layer
//!                           hosts hostname resolv.conf       written at each start
//!                           status.json log log.1 …          the monitor's
//! <run>/containers/<id>/    lock                             held for each change of a container that has no live monitor
//!                           monitor.lock monitor.sock        the monitor's
//!                           status.json                      also, at the end of a container that goes then
//! ```
//!
//! Acting on a running container goes through its monitor; on a stopped one, through the engine under `lock`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::containers::{Config, HostConfig};
use api::mounts::MountPoint;
use api::networks::EndpointSettings;
use monitor::client::Observed;
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};
use state::Life;

use super::lost;
use crate::error::{Context, Error, Result};
use crate::{Engine, ids, lock};

/// The part of a container's definition that is one JSON text in the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    /// What it runs, merged with the image's configuration.
    pub config: Config,
    /// How it meets this machine, with defaults filled in.
    pub host_config: HostConfig,
    /// The networks that it joins when it starts, by name, as configured.
    pub networks: BTreeMap<String, EndpointSettings>,
    /// Volumes, binds and `--mount` tmpfs, in the order of mounting.
    pub mounts: Vec<Mount>,
}

/// Of what kind a mount is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    #[default]
    Bind,
    /// A volume's directory.
    Volume,
    /// Memory.
    Tmpfs,
}

impl MountKind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
        }
    }
}

/// One resolved mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Of what kind.
    pub kind: MountKind,
    /// The volume's name.
    pub name: String,
    /// The host's path; empty for tmpfs.
    pub source: PathBuf,
    /// Clean absolute path in the container.
    pub destination: String,
    /// The mode of `-v` as written.
    pub mode: String,
    /// Whether the container may write.
    pub rw: bool,
    /// Propagation; empty is `rprivate`.
    pub propagation: String,
    /// Bind only the top mount of a tree.
    pub non_recursive: bool,
    /// Whether a missing host directory is made at start (`-v`, not `--mount`).
    pub create_source: bool,
    /// A part of the volume, relative.
    pub subpath: String,
    /// Whether this container made the volume, without a name: it goes with the container on request.
    pub anonymous: bool,
    /// Options of a tmpfs (`size=…`).
    pub options: Vec<String>,
}

impl Mount {
    /// As `inspect` reports it.
    pub fn point(&self) -> MountPoint {
        MountPoint {
            typ: self.kind.as_str().to_owned(),
            name: self.name.clone(),
            source: self.source.to_string_lossy().into_owned(),
            destination: self.destination.clone(),
            driver: if self.kind == MountKind::Volume { "local".to_owned() } else { String::new() },
            mode: self.mode.clone(),
            rw: self.rw,
            propagation: match self.kind {
                MountKind::Bind if self.propagation.is_empty() => "rprivate".to_owned(),
                _ => self.propagation.clone(),
            },
        }
    }
}

/// A container as defined.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Identity.
    pub id: String,
    /// Name without the slash.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// The image as the user wrote it.
    pub image: String,
    /// Digest of the image's configuration.
    pub image_id: Option<Digest>,
    /// The topmost image layer.
    pub layer: Option<ChainId>,
    /// The rest.
    pub document: Document,
}

impl TryFrom<state::containers::Container> for Record {
    type Error = Error;

    fn try_from(row: state::containers::Container) -> Result<Record> {
        let document = serde_json::from_str(&row.document)
            .during(format_args!("read the stored definition of container {}", row.id))?;
        Ok(Record::with(row, document))
    }
}

impl Record {
    fn with(row: state::containers::Container, document: Document) -> Record {
        Record {
            id: row.id,
            name: row.name,
            created: row.created,
            image: row.image,
            image_id: row.image_id,
            layer: row.layer,
            document,
        }
    }

    /// A damaged document counts as an empty one: what it said is lost, the container can be removed all the same.
    fn to_remove(row: state::containers::Container) -> Record {
        let document = serde_json::from_str(&row.document).unwrap_or_default();
        Record::with(row, document)
    }

    /// How long the definition holds: a container that is removed at its end does not outlive the machine's uptime, so
    /// nothing about it has to survive a power failure.
    pub fn life(&self) -> Life {
        if self.document.host_config.auto_remove { Life::Fleeting } else { Life::Lasting }
    }

    /// The command line: entrypoint and command.
    pub fn command(&self) -> Vec<String> {
        let config = &self.document.config;
        [config.entrypoint.as_slice(), config.cmd.as_slice()].concat()
    }

    /// When it was made.
    pub fn created_at(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.created)).unwrap_or_default()
    }

    /// The host name that its processes see, unless it shares another's.
    pub fn hostname(&self) -> &str {
        match self.document.config.hostname.as_str() {
            "" => ids::short(&self.id),
            name => name,
        }
    }

    /// The attributes that its events carry.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.document.config.labels.clone();
        attributes.insert("name".to_owned(), self.name.clone());
        attributes.insert("image".to_owned(), self.image.clone());
        attributes
    }
}

/// The document's JSON text.
pub fn encode(document: &Document) -> Result<String> {
    serde_json::to_string(document).during("write a container's definition")
}

impl Engine {
    /// `<root>/containers/<id>`.
    pub(crate) fn container_dir(&self, id: &str) -> PathBuf {
        self.config().root.join("containers").join(id)
    }

    /// `<run>/containers/<id>`.
    pub(crate) fn container_run_dir(&self, id: &str) -> PathBuf {
        self.config().run.join("containers").join(id)
    }
}

/// The container that a user means by `reference`: its id, its name, or the start of its id.
pub fn find(engine: &Engine, reference: &str) -> Result<Record> {
    find_row(engine, reference)?.try_into()
}

/// As [`find`], for removing it: also one whose stored definition is damaged.
pub fn find_to_remove(engine: &Engine, reference: &str) -> Result<Record> {
    find_row(engine, reference).map(Record::to_remove)
}

fn find_row(engine: &Engine, reference: &str) -> Result<state::containers::Container> {
    use state::containers as table;
    let name = reference.strip_prefix('/').unwrap_or(reference);
    let missing = || Error::not_found(format!("No such container: {reference}"));
    if name.is_empty() {
        return Err(missing());
    }
    engine.db().read(|tx| -> Result<_> {
        if let Some(row) = table::get(tx, name)? {
            return Ok(row);
        }
        if let Some(row) = table::by_name(tx, name)? {
            return Ok(row);
        }
        if !ids::is_prefix(name) {
            return Err(missing());
        }
        let mut rows = table::by_id_prefix(tx, name)?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            (Some(_), false) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {name}")))
            }
            (None, _) => Err(missing()),
        }
    })
}

/// The container of exactly this id.
pub fn get(engine: &Engine, id: &str) -> Result<Record> {
    get_row(engine, id)?.try_into()
}

fn get_row(engine: &Engine, id: &str) -> Result<state::containers::Container> {
    let row = engine.db().read(|tx| state::containers::get(tx, id))?;
    row.ok_or_else(|| Error::not_found(format!("No such container: {id}")))
}

/// All containers, newest first. One whose stored definition is damaged is left out: it must not hide the others.
pub fn list(engine: &Engine) -> Result<Vec<Record>> {
    let rows = engine.db().read(state::containers::list)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let id = row.id.clone();
            Record::try_from(row).inspect_err(|e| tracing::warn!(id, error = %e, "skip container")).ok()
        })
        .collect())
}

/// Replaces the stored document, under the container's lock.
pub fn save(engine: &Engine, record: &Record) -> Result<()> {
    let text = encode(&record.document)?;
    Ok(engine.db().write(|tx| state::containers::set_document(tx, &record.id, &text))?)
}

/// How the container is now, by its monitor's record.
pub fn observe(engine: &Engine, id: &str) -> Result<Observed> {
    let run = &engine.config().run;
    let observed = match monitor::client::observe(&engine.container_dir(id), run, id) {
        // Of a damaged file its writer knows better.
        Err(e) => match monitor::client::connect(run, id)? {
            Some(mut monitor) => Some(Observed { status: monitor.status()?, alive: true, lost: false }),
            None => return Err(e).during(format_args!("read the status of container {}", ids::short(id))),
        },
        Ok(observed) => observed,
    };
    if observed.as_ref().is_some_and(|observed| observed.lost)
        && let Err(e) = lost::end(engine, id)
    {
        tracing::debug!(error = %crate::error::chain(&e), container = id, "processes of a lost container not ended");
    }
    Ok(observed.unwrap_or_else(|| Observed {
        status: monitor::Status::default(),
        alive: monitor::client::is_alive(&engine.config().run, id),
        lost: false,
    }))
}

/// Takes the container's lock and reads its definition anew: it may have gone while we waited.
pub fn locked(engine: &Engine, id: &str) -> Result<(lock::Lock, Record)> {
    let (lock, row) = locked_row(engine, id)?;
    Ok((lock, row.try_into()?))
}

/// As [`locked`], for removing it: also one whose stored definition is damaged.
pub fn locked_to_remove(engine: &Engine, id: &str) -> Result<(lock::Lock, Record)> {
    let (lock, row) = locked_row(engine, id)?;
    Ok((lock, Record::to_remove(row)))
}

fn locked_row(engine: &Engine, id: &str) -> Result<(lock::Lock, state::containers::Container)> {
    let dir = engine.container_run_dir(id);
    // After a reboot the run directory is gone; for a container that does not exist it must not come back.
    get_row(engine, id)?;
    make_private_dir(&dir)?;
    let lock = lock::exclusive(&dir.join("lock"))?;
    let row = get_row(engine, id)?;
    Ok((lock, row))
}

/// Makes a directory that only its owner can enter.
pub fn make_private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .during(format_args!("create directory {}", dir.display()))
}
