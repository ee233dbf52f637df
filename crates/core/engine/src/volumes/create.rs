//! `docker volume create`, and making the volumes that a container names.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use api::volumes::{CreateRequest, Volume};
use jiff::Timestamp;

use super::{Document, Record, dir, find};
use crate::containers::name::is_restricted_name;
use crate::error::{Context, Error, Result};
use crate::{Engine, events, ids};

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
            make_dir(&path, 0o701)?;
            make_dir(&path.join("_data"), 0o755)?;
        }
        Ok(added)
    })?;
    if !added {
        return find(engine, name).map(|record| (record, false));
    }
    let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
    events::emit(engine, "volume", "create", name, &attributes);
    Ok((row.try_into()?, true))
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
