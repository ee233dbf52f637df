//! `docker stop`.

use api::containers::StopOptions;

use monitor::client::Observed;
use monitor::{RestartName, State};

use super::record::{self, Record};
use super::{cleanup, launch, signal, start};
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
    let mut monitor = loop {
        match start::running(engine, record) {
            Err(e) if e.kind != Kind::Conflict => return Err(e),
            Err(_) if keep_down(engine, record)? => {
                return Err(Error::not_modified("container is already stopped"));
            }
            // It was started in between.
            Err(_) => {}
            Ok(monitor) => break monitor,
        }
    };
    match monitor.stop(signal, options.timeout).map_err(Error::from) {
        // It ended between our look and the request.
        Err(e) if e.kind == Kind::Conflict => Err(Error::not_modified("container is already stopped")),
        result => result.map_err(|e| e.within(format_args!("cannot stop container: {}", record.name))),
    }
}

/// Of a container that does not run: who would start it in place of its killed monitor is told not to. Whether it is down.
pub(super) fn keep_down(engine: &Engine, record: &Record) -> Result<bool> {
    let policy = launch::restart_policy(&record.document.host_config.restart_policy);
    if policy.name == RestartName::No {
        return Ok(true);
    }
    if record::observe(engine, &record.id)?.lost {
        cleanup::settle(engine, record)?;
    }
    let (_lock, record) = record::locked(engine, &record.id)?;
    let Observed { mut status, alive, .. } = record::observe(engine, &record.id)?;
    if status.state.is_live() {
        return Ok(false);
    }
    if status.state == State::Exited && !status.manually_stopped && !alive {
        status.manually_stopped = true;
        status.write(&engine.container_dir(&record.id), true).map_err(|e| Error::from_chain(&e))?;
    }
    Ok(true)
}
