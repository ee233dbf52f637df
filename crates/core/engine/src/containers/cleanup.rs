//! What happens after a container's last exit, and what happens when a machine boots.

use api::containers::RemoveOptions;
use monitor::client::Observed;
use monitor::{RestartName, State};
use state::Life;

use super::record::{self, Record};
use super::{launch, networking, remove, start};
use crate::error::{Kind, Result};
use crate::{Engine, events, exec, lock, machine};

/// Takes down what a container's run needed: its place in networks and published ports; removes the container if it
/// was asked to be. Called by the monitor after the final exit, as `dhow cleanup <id>`; may be called at any time.
pub async fn cleanup(engine: &Engine, id: &str) -> Result<()> {
    let id = id.to_owned();
    engine.blocking(move |engine| unless_removed(cleanup_now(engine, &id))).await
}

/// As [`cleanup`], for the monitor that asked this engine to: it learns of the end by the answer.
pub(super) async fn cleanup_as_told(engine: &Engine, id: &str) -> Result<()> {
    let id = id.to_owned();
    engine.brief(move |engine| unless_removed(clean_up(engine, &id, remove::remove_untold))).await
}

/// A container that was removed meanwhile is gone with all that there was to clean up.
fn unless_removed(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind == Kind::NotFound => Ok(()),
        result => result,
    }
}

fn cleanup_now(engine: &Engine, id: &str) -> Result<()> {
    clean_up(engine, id, remove::remove_locked)
}

/// `remove` takes down a container that is removed at its end, with its anonymous volumes.
fn clean_up(engine: &Engine, id: &str, remove: fn(&Engine, &Record, bool) -> Result<()>) -> Result<()> {
    let (_lock, record) = record::locked(engine, id)?;
    if record::observe(engine, id)?.status.state.is_live() {
        // It was started anew: its network is in use.
        return Ok(());
    }
    networking::disconnect_all(engine, id);
    exec::forget(engine, id);
    monitor::client::forget_name(&engine.config().run, &record.name, id);
    if record.document.host_config.auto_remove {
        return remove(engine, &record, true);
    }
    Ok(())
}

/// Starts what the restart policies want to run after a boot, or after the monitors were killed. Called by the daemon
/// when it starts. One container that cannot be started does not keep the others from it.
pub async fn boot(engine: &Engine) -> Result<()> {
    let records = engine.blocking(record::list).await?;
    // Oldest first: later ones may join the networks of earlier ones.
    for record in records.into_iter().rev() {
        engine
            .blocking(move |engine| {
                if let Err(e) = revive(engine, &record) {
                    tracing::warn!(error = %e, container = record.name, "container not brought up");
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

fn revive(engine: &Engine, record: &Record) -> Result<()> {
    let alive = monitor::client::is_alive(&engine.config().run, &record.id);
    if record.life() == Life::Fleeting && record.created < machine::booted() && !alive {
        // What is left of it was not synced: even its status may be none.
        return remove::remove_now(
            engine,
            record,
            &RemoveOptions { force: true, volumes: true, link: false },
        );
    }
    let observed = record::observe(engine, &record.id)?;
    let status = &observed.status;
    if observed.alive && status.state.is_live() {
        return Ok(());
    }
    if observed.lost {
        settle(engine, record)?;
    }
    if is_overdue(engine, record, &observed)? {
        return remove_overdue(engine, &record.id);
    }
    if status.started_at.is_none() || status.state == State::Created {
        return Ok(());
    }
    let policy = launch::restart_policy(&record.document.host_config.restart_policy);
    let wanted = match policy.name {
        RestartName::No => false,
        RestartName::Always => true,
        RestartName::UnlessStopped => !status.manually_stopped,
        RestartName::OnFailure => {
            let left = policy.max_retries == 0 || status.restart_count < policy.max_retries;
            status.exit_code != 0 && observed.lost && left
        }
    };
    if wanted {
        let restarts = if observed.lost { status.restart_count + 1 } else { 0 };
        return match start::start_again(engine, &record.id, restarts) {
            Err(e) if e.kind == Kind::NotModified => Ok(()),
            result => result,
        };
    }
    Ok(())
}

/// Whether the container has ended, was to be removed then, and nobody is about to do that: its clean-up failed or was
/// killed.
pub(crate) fn is_overdue(engine: &Engine, record: &Record, observed: &Observed) -> Result<bool> {
    let ended =
        matches!(observed.status.state, State::Exited | State::Dead) && !observed.alive && !observed.lost;
    let removed = record.document.host_config.auto_remove;
    Ok(ended && removed && !lock::is_held(&engine.container_run_dir(&record.id).join("lock"))?)
}

/// Does what the clean-up did not.
pub(crate) fn remove_overdue(engine: &Engine, id: &str) -> Result<()> {
    match cleanup_now(engine, id) {
        Err(e) if e.kind == Kind::NotFound => Ok(()),
        result => result,
    }
}

/// Records the end of a container whose monitor was killed, and takes down what it left. How it ended, unless somebody else has
/// done that.
pub(crate) fn settle(engine: &Engine, record: &Record) -> Result<Option<monitor::Status>> {
    let status = {
        let (_lock, record) = record::locked(engine, &record.id)?;
        let Observed { status, lost: true, .. } = record::observe(engine, &record.id)? else {
            return Ok(None);
        };
        remove::end_left(engine, &record);
        status.write(&engine.container_dir(&record.id), true).map_err(|e| crate::Error::from_chain(&e))?;
        let code = status.exit_code.to_string();
        events::emit_container(engine, "die", &record, &[("exitCode", &code)]);
        status
    };
    cleanup_now(engine, &record.id)?;
    Ok(Some(status))
}
