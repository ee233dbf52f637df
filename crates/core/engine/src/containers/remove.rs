//! `docker rm`.

use api::containers::{RemoveOptions, StopOptions};
use monitor::State;

use super::record::{self, Record};
use super::{lost, networking, stop};
use crate::error::{Error, Kind, Result};
use crate::volumes::Forgotten;
use crate::{Engine, events, exec, volumes};

/// Removes a container: one that runs only with `force`, which kills it.
pub async fn remove(engine: &Engine, reference: &str, options: RemoveOptions) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            if options.link {
                return Err(Error::invalid(
                    "removing a link alone is not supported: links are part of a container",
                ));
            }
            let record = record::find_to_remove(engine, &reference)?;
            remove_now(engine, &record, &options)
        })
        .await
}

/// Removes the container; the killing is done without its lock.
pub(crate) fn remove_now(engine: &Engine, record: &Record, options: &RemoveOptions) -> Result<()> {
    loop {
        if options.force {
            let kill = StopOptions { signal: "KILL".to_owned(), timeout: None };
            match stop::stop_now(engine, record, &kill) {
                // Without a monitor nothing runs, whatever a damaged status says.
                Err(e) if e.kind != Kind::NotModified && is_alive(engine, record) => return Err(e),
                _ => {}
            }
        }
        let (_lock, locked) = match record::locked_to_remove(engine, &record.id) {
            // Its own clean-up or another engine was faster.
            Err(e) if e.kind == Kind::NotFound && options.force => return Ok(()),
            other => other?,
        };
        match check_stopped(engine, &locked) {
            // It was started again in between.
            Err(_) if options.force => continue,
            Err(e) => return Err(e),
            Ok(()) => return remove_locked(engine, &locked, options.volumes),
        }
    }
}

fn is_alive(engine: &Engine, record: &Record) -> bool {
    monitor::client::is_alive(&engine.config().run, &record.id)
}

pub(super) fn check_stopped(engine: &Engine, record: &Record) -> Result<()> {
    let state = match record::observe(engine, &record.id) {
        Err(_) if !is_alive(engine, record) => return Ok(()),
        observed => observed?.status.state,
    };
    let (what, advice) = match state {
        State::Created | State::Exited | State::Dead => return Ok(()),
        State::Paused => ("paused", "container is paused and must be unpaused first"),
        State::Restarting => ("restarting", "stop the container before removing or force remove"),
        State::Running => ("running", "stop the container before removing or force remove"),
    };
    let message = match what {
        "paused" => format!("cannot remove container \"/{}\": {advice}", record.name),
        _ => format!("cannot remove container \"/{}\": container is {what}: {advice}", record.name),
    };
    Err(Error::conflict(message))
}

/// Removes a container that does not run, under its lock; with `anonymous` the volumes that were made for it too.
///
/// The definition goes first: from then on the container does not exist, and what a crash leaves behind is garbage
/// that `system check` finds.
pub(crate) fn remove_locked(engine: &Engine, record: &Record, anonymous: bool) -> Result<()> {
    take_down(engine, record, anonymous, tell_monitor)
}

/// As [`remove_locked`], where the monitor learns of it otherwise.
pub(super) fn remove_untold(engine: &Engine, record: &Record, anonymous: bool) -> Result<()> {
    take_down(engine, record, anonymous, |_, _| ())
}

fn take_down(engine: &Engine, record: &Record, anonymous: bool, tell: fn(&Engine, &Record)) -> Result<()> {
    networking::disconnect_all(engine, &record.id);
    exec::forget(engine, &record.id);
    monitor::client::forget_name(&engine.config().run, &record.name, &record.id);
    end_left(engine, record);
    let forgotten = engine.db().write_for(record.life(), |tx| -> Result<Vec<Forgotten>> {
        state::containers::delete(tx, &record.id)?;
        if anonymous { forget_volumes(tx, engine, record) } else { Ok(Vec::new()) }
    })?;
    for volume in forgotten {
        if let Err(e) = volume.delete(engine) {
            tracing::warn!(error = %e, container = record.id, "data of an anonymous volume not deleted");
        }
    }
    // Until now it was in use.
    if let Some(image) = &record.image_id {
        engine.store().touch(image);
    }
    let gone = std::fs::remove_dir_all(engine.container_dir(&record.id));
    events::emit_container(engine, "destroy", record, &[]);
    // Before its directory goes: the monitor is found by the socket in it.
    tell(engine, record);
    let _ = std::fs::remove_dir_all(engine.container_run_dir(&record.id));
    match gone {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::system(format!("delete the files of container {}: {e}", record.id))
                .with_hint("run `dhow system check --repair` to delete what is left"))
        }
        _ => Ok(()),
    }
}

fn tell_monitor(engine: &Engine, record: &Record) {
    match monitor::client::connect(&engine.config().run, &record.id) {
        Ok(Some(mut monitor)) => {
            if let Err(e) = monitor.removed() {
                tracing::debug!(error = %e, container = record.id, "monitor not told of the removal");
            }
        }
        Ok(None) => {}
        Err(e) => tracing::debug!(error = %e, container = record.id, "monitor not reached"),
    }
}

/// What a killed monitor left behind; usually there is nothing.
pub(super) fn end_left(engine: &Engine, record: &Record) {
    if let Err(e) = lost::end_locked(engine, record) {
        tracing::debug!(error = %crate::error::chain(&e), container = record.id, "processes not ended");
    }
}

/// Takes away the definitions of the volumes that were made for the container, unless others use them too.
fn forget_volumes(tx: &state::Tx<'_>, engine: &Engine, record: &Record) -> Result<Vec<Forgotten>> {
    let mut forgotten = Vec::new();
    for mount in record.document.mounts.iter().filter(|mount| mount.anonymous) {
        if state::volumes::get(tx, &mount.name)?.is_some()
            && state::volumes::users(tx, &mount.name)?.is_empty()
        {
            forgotten.push(volumes::forget(tx, engine, &mount.name)?);
        }
    }
    Ok(forgotten)
}
