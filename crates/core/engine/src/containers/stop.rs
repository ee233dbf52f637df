//! `docker stop`.

use api::containers::StopOptions;

use super::record::{self, Record};
use super::{signal, start};
use crate::Engine;
use crate::error::{Error, Kind, Result};

/// Asks a container to stop and kills it when it does not. One that does not run is [`Kind::NotModified`].
pub async fn stop(engine: &Engine, reference: &str, options: StopOptions) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            stop_now(engine, &record, &options)
        })
        .await
}

/// Stops without the container's lock: its monitor serialises, and its clean-up wants the lock.
pub(crate) fn stop_now(engine: &Engine, record: &Record, options: &StopOptions) -> Result<()> {
    let signal = match options.signal.as_str() {
        "" => None,
        text => Some(signal::parse(text)?),
    };
    let mut monitor = start::running(engine, record).map_err(|e| match e.kind {
        Kind::Conflict => Error::not_modified("container is already stopped"),
        _ => e,
    })?;
    match monitor.stop(signal, options.timeout).map_err(Error::from) {
        // It ended between our look and the request.
        Err(e) if e.kind == Kind::Conflict => Err(Error::not_modified("container is already stopped")),
        result => result.map_err(|e| e.within(format_args!("cannot stop container: {}", record.name))),
    }
}
