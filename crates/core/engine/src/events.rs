//! Appending to the events file what the engine itself does.
//!
//! Starts, exits, execs and health are the monitor's to report (see the `monitor` crate); creation, names, limits,
//! images, networks and volumes are reported here. An event is a record, not a part of the operation: one that cannot
//! be written is logged and the operation goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use monitor::event::{Actor, Event, append};

use crate::Engine;
use crate::containers::record::Record;

impl Engine {
    /// `<root>/events.ndjson`.
    pub fn events_path(&self) -> PathBuf {
        self.config().root.join("events.ndjson")
    }
}

/// Reports that `action` happened to an object of kind `kind` (`image`, `network`, `volume`, `builder`).
pub fn emit(engine: &Engine, kind: &str, action: &str, id: &str, attributes: &BTreeMap<String, String>) {
    // Docker fills the three old top-level fields for containers and images only.
    let (status, old_id) = if kind == "image" { (action, id) } else { ("", "") };
    let from = if kind == "image" { attributes.get("name").map_or("", String::as_str) } else { "" };
    write(engine, kind, action, id, attributes, [status, old_id, from]);
}

/// Reports that `action` happened to a container; `extra` joins its usual attributes.
pub fn emit_container(engine: &Engine, action: &str, record: &Record, extra: &[(&str, &str)]) {
    let mut attributes = record.attributes();
    attributes.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    write(engine, "container", action, &record.id, &attributes, [action, &record.id, &record.image]);
}

fn write(
    engine: &Engine,
    kind: &str,
    action: &str,
    id: &str,
    attributes: &BTreeMap<String, String>,
    [status, old_id, from]: [&str; 3],
) {
    let now = Timestamp::now();
    let event = Event {
        status,
        id: old_id,
        from,
        kind,
        action,
        actor: Actor { id, attributes: attributes.iter().map(|(k, v)| (k.as_str(), v.clone())).collect() },
        scope: "local",
        time: now.as_second(),
        time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
    };
    if let Err(e) = append(&engine.events_path(), &event) {
        tracing::warn!(error = %e, action, kind, id, "event not recorded");
    }
}
