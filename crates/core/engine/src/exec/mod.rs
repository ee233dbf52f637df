//! Further processes in a running container.
//!
//! ```text
//! <run>/exec/<exec id>      a file that holds the container's id
//! ```
//!
//! The process itself belongs to the container's monitor; the file only says which one to ask. The monitor removes it
//! when it forgets the process, the clean-up of the container's run removes what is left.

mod create;
mod further;
mod held;
mod inspect;
mod resize;
mod signal;
mod start;

use std::path::PathBuf;

use crate::containers::record;
use crate::error::{Context, Error, Kind, Result};
use crate::{Engine, ids};

pub use create::create;
pub(crate) use further::further;
pub(crate) use held::Held;
pub use inspect::inspect;
pub use resize::resize;
pub use signal::signal;
pub use start::{Started, start, start_detached};

fn dir(engine: &Engine) -> PathBuf {
    engine.config().run.join("exec")
}

/// A connection to the monitor that has the exec, and the container's id.
fn monitor(engine: &Engine, id: &str) -> Result<(monitor::client::Connection, String)> {
    let missing = || Error::not_found(format!("No such exec instance: {id}"));
    // The id becomes a file name.
    if !ids::is_prefix(id) || id.len() != 64 {
        return Err(missing());
    }
    if let Some(prepared) = held::release(engine, id)? {
        return Ok(prepared);
    }
    let container = match std::fs::read_to_string(dir(engine).join(id)) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Err(e) => return Err(e).during("read the exec's file"),
    };
    match monitor::client::reach(&engine.config().run, &container)? {
        Some(connection) => Ok((connection, container)),
        None => Err(match engine.make_ready().and_then(|()| record::get(engine, &container)) {
            Err(e) if e.kind == Kind::NotFound => missing(),
            Err(e) => e,
            Ok(_) => Error::conflict(format!("container {container} is not running")),
        }),
    }
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
