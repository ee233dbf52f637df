//! `docker pause` and `docker unpause`.

use monitor::State;

use super::{record, start};
use crate::Engine;
use crate::error::{Error, Result};

/// Freezes all processes of a container.
pub async fn pause(engine: &Engine, reference: &str) -> Result<()> {
    freeze(engine, reference, true).await
}

/// Thaws them.
pub async fn unpause(engine: &Engine, reference: &str) -> Result<()> {
    freeze(engine, reference, false).await
}

async fn freeze(engine: &Engine, reference: &str, on: bool) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            let mut monitor = start::running(engine, &record)?;
            match (on, record::observe(engine, &record.id)?.status.state) {
                (true, State::Paused) => {
                    return Err(Error::conflict(format!("container {} is already paused", record.id)));
                }
                (true, State::Restarting) => {
                    return Err(Error::conflict(format!(
                        "container {} is restarting, wait until the container is running",
                        record.id
                    )));
                }
                (false, State::Running | State::Restarting) => {
                    return Err(Error::conflict(format!("container {} is not paused", record.id)));
                }
                _ => {}
            }
            Ok(if on { monitor.pause() } else { monitor.unpause() }?)
        })
        .await
}
