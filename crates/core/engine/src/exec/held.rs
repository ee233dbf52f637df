//! What a process that lives for one command spares its monitor's and its own time: a further process is prepared and run
//! by one message on one connection, and how it ended is told with it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::PoisonError;

use monitor::client::{self, Connection};
use monitor::protocol::{self, ExecCreate, ExecStart, ExecState, FailureKind, Reply};
use rustix::pipe::PipeFlags;

use super::dir;
use crate::Engine;
use crate::error::{Context, Result};

/// The further process of the one command.
pub(crate) enum Held {
    /// Its monitor does not know of it yet.
    Prepared(Box<Prepared>),
    /// It was run; how it ends comes into a pipe.
    Run(Box<Run>),
}

/// A process that its monitor does not know of yet.
pub(crate) struct Prepared {
    create: ExecCreate,
    container: String,
    monitor: Connection,
}

/// A process that was run.
pub(crate) struct Run {
    create: ExecCreate,
    container: String,
    report: OwnedFd,
}

/// Tells the monitor of a process, or keeps it for [`run`] where nobody else can ask for it before.
pub(super) fn prepare(
    engine: &Engine,
    container: &str,
    create: ExecCreate,
    mut monitor: Connection,
) -> Result<()> {
    if !engine.config().alone {
        return Ok(monitor.exec_create(create)?);
    }
    let prepared = Prepared { create, container: container.to_owned(), monitor };
    hold(engine, Held::Prepared(Box::new(prepared)));
    Ok(())
}

/// The connection and the container of a process that was kept: its monitor knows it now.
pub(super) fn release(engine: &Engine, id: &str) -> Result<Option<(Connection, String)>> {
    let Some(prepared) = take_prepared(engine, id) else { return Ok(None) };
    let Prepared { create, container, mut monitor } = prepared;
    monitor.exec_create(create).inspect_err(|_| forget(engine, id))?;
    Ok(Some((monitor, container)))
}

/// Runs a process that was kept; `None` if it was not.
pub(super) fn run(
    engine: &Engine,
    start: &ExecStart,
) -> Result<Option<std::result::Result<UnixStream, client::Error>>> {
    let Some(prepared) = take_prepared(engine, &start.id) else { return Ok(None) };
    let Prepared { create, container, monitor } = prepared;
    let (report, theirs) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).during("make a pipe")?;
    let stream = monitor.exec_run(create.clone(), start.clone(), theirs.as_fd());
    match &stream {
        Ok(_) => hold(engine, Held::Run(Box::new(Run { create, container, report }))),
        // The monitor knows it, and how it ended.
        Err(client::Error::Failed(failure)) if failure.kind == FailureKind::Start => {}
        Err(_) => forget(engine, &start.id),
    }
    Ok(Some(stream))
}

/// Removes what says of a process that there is one.
fn forget(engine: &Engine, id: &str) {
    let _ = std::fs::remove_file(dir(engine).join(id));
}

/// How a process is that was run here, and in which container, once it has ended.
pub(super) fn ended(engine: &Engine, id: &str) -> Option<(ExecState, String)> {
    let mut held = engine.held_exec().lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Held::Run(run)) = held.as_ref() else { return None };
    if run.create.id != id {
        return None;
    }
    let mut message = [0; 256];
    // Nothing yet is what a process that runs tells.
    let length = rustix::io::read(&run.report, &mut message).ok()?;
    let Some(Held::Run(run)) = held.take() else { return None };
    match protocol::read(&mut &message[..length]) {
        Ok(Reply::Exited { exit_code, pid }) => {
            let state = ExecState { create: run.create, running: false, exit_code: Some(exit_code), pid };
            Some((state, run.container))
        }
        _ => None,
    }
}

fn hold(engine: &Engine, exec: Held) {
    *engine.held_exec().lock().unwrap_or_else(PoisonError::into_inner) = Some(exec);
}

fn take_prepared(engine: &Engine, id: &str) -> Option<Prepared> {
    let mut held = engine.held_exec().lock().unwrap_or_else(PoisonError::into_inner);
    match held.take() {
        Some(Held::Prepared(prepared)) if prepared.create.id == id => Some(*prepared),
        other => {
            *held = other;
            None
        }
    }
}
