//! Changing the size of a container's terminal.

use super::{record, start};
use crate::Engine;
use crate::error::Result;

/// Tells a running container's terminal its size in characters.
pub async fn resize(engine: &Engine, reference: &str, height: u16, width: u16) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            Ok(start::running(engine, &record)?.resize(height, width)?)
        })
        .await
}
