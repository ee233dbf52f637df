//! `docker pause` and `docker unpause`.

use monitor::State;
use monitor::client::Connection;

use super::record::Record;
use super::{record, start};
use crate::Engine;
use crate::error::{Error, Kind, Result};

/// Freezes all processes of a container.
pub async fn pause(engine: &Engine, reference: &str) -> Result<()> {
    freeze(engine, reference, true).await
}

/// Thaws them.
pub async fn unpause(engine: &Engine, reference: &str) -> Result<()> {
    freeze(engine, reference, false).await
}

/// A container that is paused for as long as this lives; the monitor lets it go on as well when this process is killed.
#[derive(Debug)]
pub(crate) struct Held {
    monitor: Connection,
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by now.
        let _ = self.monitor.unpause();
    }
}

/// Pauses a container that runs; `None` if it doesn't.
pub(crate) fn hold_still(engine: &Engine, record: &Record) -> Result<Option<Held>> {
    if record::observe(engine, &record.id)?.status.state != State::Running {
        return Ok(None);
    }
    let held = start::running(engine, record).and_then(|mut monitor| {
        monitor.pause_held()?;
        Ok(Held { monitor })
    });
    match held {
        // It has ended since, or somebody else has paused it.
        Err(e) if e.kind == Kind::Conflict => Ok(None),
        held => held.map(Some),
    }
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
