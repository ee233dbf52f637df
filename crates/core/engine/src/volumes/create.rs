//! `docker volume create`, and making the volumes that a container names.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use api::volumes::{CreateRequest, Volume};
use jiff::Timestamp;

use super::remove::aside;
use super::{Document, PROVISIONAL, Record, dir, find};
use crate::containers::name::is_restricted_name;
use crate::error::{Context, Error, Result};
use crate::{Engine, events, ids};

/// A folder has the volume's name, for a moment with something behind it.
const NAME_MAX: usize = 200;

/// Creates a volume, or returns the one of this name.
pub async fn create(engine: &Engine, request: CreateRequest) -> Result<Volume> {
    engine
        .blocking(move |engine| {
            if !matches!(request.driver.as_str(), "" | "local" | "default") {
                return Err(Error::not_found(format!(
                    "create {}: error looking up volume plugin {1}: plugin \"{1}\" not found",
                    request.name, request.driver
                )));
            }
            let anonymous = request.name.is_empty();
            let name = if anonymous { ids::new()? } else { request.name };
            let document = Document { labels: request.labels, options: request.driver_opts };
            ensure(engine, &name, anonymous, document).map(|(record, _)| record.volume(engine))
        })
        .await
}

/// The volume of this name, made if it does not exist; and whether it was made.
pub(crate) fn ensure(
    engine: &Engine,
    name: &str,
    anonymous: bool,
    document: Document,
) -> Result<(Record, bool)> {
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    if !is_restricted_name(name, 2) {
        return Err(Error::invalid(format!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    if name.len() > NAME_MAX {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too long, names can be at most {NAME_MAX} characters"
        )));
    }
    if let Ok(existing) = find(engine, name) {
        if !document.options.is_empty() && document.options != existing.document.options {
            return Err(Error::conflict(format!(
                "create {name}: conflict: volume name must be unique: it exists with other options"
            )));
        }
        return Ok((existing, false));
    }
    check_options(name, &document.options)?;
    let created = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let text = serde_json::to_string(&document).during("write a volume's definition")?;
    let row = state::volumes::Volume { name: name.to_owned(), created, anonymous, document: text };
    // The directory is made and unmade within the write transaction, so that a removal cannot take a new volume's data.
    let added = engine.db().write(|tx| -> Result<bool> {
        let added = state::volumes::insert(tx, &row)?;
        if added {
            let path = dir(engine, name);
            if path.join(PROVISIONAL).exists() {
                // What an earlier volume of this name left is deleted by who removes it, or by the next check.
                std::fs::rename(&path, aside(engine, name)?)
                    .during(format_args!("set what is left of the last volume {name} aside"))?;
            }
            make_dir(&path, 0o701)?;
            make_dir(&path.join("_data"), 0o755)?;
        }
        Ok(added)
    })?;
    if !added {
        return find(engine, name).map(|record| (record, false));
    }
    tell(engine, name);
    Ok((row.try_into()?, true))
}

/// An anonymous volume that a container is to have, and that is not made yet: draft → provisional → defined, the last in
/// one transaction with the container, so that there is never one without the other.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    record: Record,
}

impl Draft {
    /// A volume of a new name.
    pub fn new(document: Document) -> Result<Draft> {
        let name = ids::new()?;
        check_options(&name, &document.options)?;
        let created = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        Ok(Draft { record: Record { name, created, anonymous: true, document } })
    }

    /// The volume as it will be.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Makes its directory, for the container `id`, whose lock is held.
    pub fn make(&self, engine: &Engine, id: &str) -> Result<Provisional> {
        let Record { name, created, anonymous, document } = self.record.clone();
        let document = serde_json::to_string(&document).during("write a volume's definition")?;
        let row = state::volumes::Volume { name, created, anonymous, document };
        let path = dir(engine, &row.name);
        let provisional = Provisional { engine: engine.clone(), row, defined: false };
        make_dir(&path, 0o701)?;
        std::fs::write(path.join(PROVISIONAL), id)
            .during(format_args!("make the volume {}", path.display()))?;
        make_dir(&path.join("_data"), 0o755)?;
        Ok(provisional)
    }
}

/// A volume on disk without a definition. Dropped, it is deleted.
pub(crate) struct Provisional {
    engine: Engine,
    row: state::volumes::Volume,
    defined: bool,
}

impl Provisional {
    /// Its definition.
    pub fn row(&self) -> &state::volumes::Volume {
        &self.row
    }

    /// It has its definition.
    pub fn keep(mut self) {
        self.defined = true;
        // Left there it changes nothing as long as there is the definition.
        let _ = std::fs::remove_file(dir(&self.engine, &self.row.name).join(PROVISIONAL));
        tell(&self.engine, &self.row.name);
    }
}

impl Drop for Provisional {
    fn drop(&mut self) {
        if self.defined {
            return;
        }
        if let Err(e) = std::fs::remove_dir_all(dir(&self.engine, &self.row.name)) {
            tracing::warn!(error = %e, volume = self.row.name, "volume not removed");
        }
    }
}

fn tell(engine: &Engine, name: &str) {
    let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
    events::emit(engine, "volume", "create", name, &attributes);
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(e).during(format_args!("create directory {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Nothing, or exactly a bind of a host directory.
fn check_options(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let fail = |text: String| Err(Error::invalid(format!("create {name}: {text}")));
    if let Some(key) = options.keys().find(|k| !matches!(k.as_str(), "type" | "o" | "device")) {
        return fail(format!("invalid option: {key:?}"));
    }
    if options.is_empty() {
        return Ok(());
    }
    let get = |key: &str| options.get(key).map_or("", String::as_str);
    let (typ, flags, device) = (get("type"), get("o"), get("device"));
    let is_bind =
        matches!(typ, "none" | "bind" | "") && flags.split(',').any(|f| f == "bind" || f == "rbind");
    if !is_bind {
        return fail(format!(
            "volumes of type {typ:?} with options {flags:?} are not supported: only type=none,o=bind,device=<directory>; \
             use --tmpfs for memory"
        ));
    }
    if !device.starts_with('/') {
        return fail(format!("invalid device {device:?}: it must be an absolute path"));
    }
    if !Path::new(device).is_dir() {
        return fail(format!("failed to mount local volume: {device}: no such file or directory"));
    }
    Ok(())
}
