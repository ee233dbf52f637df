//! `docker kill`.

use super::{record, signal, start};
use crate::Engine;
use crate::error::{Error, Kind, Result};

/// Sends a signal to a container's init; SIGKILL if none is named.
pub async fn kill(engine: &Engine, reference: &str, signal_name: &str) -> Result<()> {
    let (reference, signal_name) = (reference.to_owned(), signal_name.to_owned());
    engine
        .blocking(move |engine| {
            let number = if signal_name.is_empty() { 9 } else { signal::parse(&signal_name)? };
            let record = record::find(engine, &reference)?;
            let not_running = |e: Error| match e.kind {
                Kind::Conflict => Error::conflict(format!(
                    "cannot kill container: {reference}: container {} is not running",
                    record.id
                )),
                _ => e,
            };
            let mut monitor = start::running(engine, &record).map_err(not_running)?;
            monitor.signal(number).map_err(Error::from).map_err(not_running)
        })
        .await
}
