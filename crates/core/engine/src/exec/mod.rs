//! Further processes in a running container.
//!
//! ```text
//! <run>/exec/<exec id>      a file that holds the container's id
//! ```
//!
//! The process itself belongs to the container's monitor; the file only says which one to ask. The monitor removes it
//! when it forgets the process, the clean-up of the container's run removes what is left.

mod create;
mod inspect;
mod resize;
mod start;

use std::path::PathBuf;

use crate::containers::record::{self, Record};
use crate::error::{Context, Error, Kind, Result};
use crate::{Engine, ids};

pub use create::create;
pub use inspect::inspect;
pub use resize::resize;
pub use start::{Started, start, start_detached};

fn dir(engine: &Engine) -> PathBuf {
    engine.config().run.join("exec")
}

/// The container that an exec belongs to.
fn container(engine: &Engine, id: &str) -> Result<Record> {
    let missing = || Error::not_found(format!("No such exec instance: {id}"));
    // The id becomes a file name.
    if !ids::is_prefix(id) || id.len() != 64 {
        return Err(missing());
    }
    let container = match std::fs::read_to_string(dir(engine).join(id)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Err(e) => return Err(e).during("read the exec's file"),
    };
    record::get(engine, container.trim()).map_err(|e| if e.kind == Kind::NotFound { missing() } else { e })
}

/// A connection to the monitor that has the exec.
fn monitor(engine: &Engine, id: &str) -> Result<(monitor::client::Connection, Record)> {
    let record = container(engine, id)?;
    let connection = monitor::client::connect(&engine.config().run, &record.id)?
        .ok_or_else(|| Error::conflict(format!("container {} is not running", record.id)))?;
    Ok((connection, record))
}

/// The ids of a container's execs.
pub(crate) fn of_container(engine: &Engine, id: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir(engine)) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter(|e| std::fs::read_to_string(e.path()).is_ok_and(|text| text.trim() == id))
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

/// Forgets the execs of a container whose monitor has gone.
pub(crate) fn forget(engine: &Engine, container: &str) {
    for id in of_container(engine, container) {
        let _ = std::fs::remove_file(dir(engine).join(id));
    }
}
