//! Changing the size of a further process' terminal.

use super::monitor;
use crate::Engine;
use crate::error::Result;

/// Tells the terminal its size in characters.
pub async fn resize(engine: &Engine, id: &str, height: u16, width: u16) -> Result<()> {
    let id = id.to_owned();
    engine.brief(move |engine| Ok(monitor(engine, &id)?.0.exec_resize(&id, height, width)?)).await
}
