//! `docker start`, the second half of `docker run`.
//!
//! Under the container's lock: network, root file system and document are made ready, then the monitor runs it. What
//! was made is undone in reverse order if a later step fails.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use monitor::client::{self, Connection};
use monitor::protocol::{Failure, FailureKind, Launch};
use monitor::{Config, State};

use super::record::{self, Record};
use super::{launch, lost, networking, remove};
use crate::error::{Error, Result};
use crate::images::heal::{self, Wanted};
use crate::undo::Undo;
use crate::{Engine, privileges};

/// How long the clean-up of a container's last run may take before starting it anew gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Starts a container. One that runs already is [`crate::Kind::NotModified`].
pub async fn start(engine: &Engine, reference: &str, detach_keys: &str) -> Result<()> {
    let (reference, detach_keys) = (reference.to_owned(), detach_keys.to_owned());
    let lost = engine
        .brief(move |engine| {
            if !detach_keys.is_empty() {
                monitor::parse_detach_keys(&detach_keys).map_err(|e| Error::invalid(e.to_string()))?;
            }
            let record = record::find(engine, &reference)?;
            start_or_lost(engine, &record.id)
        })
        .await?;
    match lost {
        Some(lost) => start_healed(engine, *lost).await,
        None => Ok(()),
    }
}

/// A container whose image has lost layers, and how that showed.
pub(super) struct Lost {
    record: Record,
    error: Error,
}

/// Starts the container of this id, unless its image has to be made whole before.
pub(super) fn start_or_lost(engine: &Engine, id: &str) -> Result<Option<Box<Lost>>> {
    attempt_until(engine, id, &|_| Ok(true), |engine, record| match start_locked(engine, record, 0, false) {
        Attempt::Done(result) => Some(result.map(|()| None)),
        Attempt::Lost(error) => Some(Ok(Some(Box::new(Lost { record: record.clone(), error })))),
        Attempt::Busy => None,
    })
    .map(Option::flatten)
}

/// Starts a container whose image has lost layers, once they are back.
pub(super) async fn start_healed(engine: &Engine, lost: Lost) -> Result<()> {
    let Lost { record, error } = lost;
    let healed = heal::layers(engine, Wanted::of(&record), error).await;
    let id = record.id.clone();
    let started = engine.brief(move |engine| start_now(engine, &id)).await;
    // Why it can't be healed says more than that it can't start.
    let told = healed?;
    tracing::warn!(container = record.id, "{told}");
    started
}

/// Starts the container of this id.
pub(crate) fn start_now(engine: &Engine, id: &str) -> Result<()> {
    start_again(engine, id, 0)
}

/// The same in place of its monitor, which was killed and would have made it the `restarts`th restart by its policy.
pub(super) fn start_again(engine: &Engine, id: &str, restarts: u32) -> Result<()> {
    start_if(engine, id, restarts, |_| Ok(true))
}

/// The same if it is `wanted` still when nobody else can change it any more.
pub(super) fn start_if(
    engine: &Engine,
    id: &str,
    restarts: u32,
    wanted: impl Fn(&Record) -> Result<bool>,
) -> Result<()> {
    attempt_until(engine, id, &wanted, |engine, record| match start_locked(engine, record, restarts, true) {
        Attempt::Done(result) => Some(result),
        Attempt::Lost(error) => Some(Err(error)),
        Attempt::Busy => None,
    })
    .map(Option::unwrap_or_default)
}

/// Tries under the container's lock until there is an answer; none if it is not `wanted` any more.
fn attempt_until<T>(
    engine: &Engine,
    id: &str,
    wanted: &dyn Fn(&Record) -> Result<bool>,
    attempt: impl Fn(&Engine, &Record) -> Option<Result<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The clean-up of the last run may be waiting for the lock: it is given up between attempts.
        let attempt = {
            let (_lock, record) = record::locked(engine, id)?;
            if !wanted(&record)? {
                return Ok(None);
            }
            attempt(engine, &record)
        };
        match attempt {
            Some(result) => return result.map(Some),
            None if Instant::now() < deadline => std::thread::sleep(PAUSE),
            None => {
                return Err(Error::unavailable(format!(
                    "container {id} cannot be started: the clean-up of its last run goes on"
                )));
            }
        }
    }
}

enum Attempt {
    Done(Result<()>),
    /// Its image has lost layers; nothing was done yet.
    Lost(Error),
    Busy,
}

/// The `last` attempt removes a container that was to be removed at its end, whyever it fails.
fn start_locked(engine: &Engine, record: &Record, restarts: u32, last: bool) -> Attempt {
    let done = |error| Attempt::Done(Err(error));
    let observed = match record::observe(engine, &record.id) {
        Ok(observed) => observed,
        Err(e) => return done(e),
    };
    if observed.lost
        && let Err(e) = lost::end_locked(engine, record)
    {
        return done(e);
    }
    match observed.status.state {
        State::Running | State::Restarting => {
            return done(Error::not_modified("container is already running"));
        }
        State::Paused => {
            return done(Error::conflict("cannot start a paused container, try unpause instead"));
        }
        State::Dead => {
            return done(Error::conflict("container is marked for removal and cannot be started"));
        }
        State::Created | State::Exited => {}
    }
    let mut undo = Undo::default();
    match run(engine, record, restarts, &mut undo) {
        Ok(()) => {
            undo.keep();
            Attempt::Done(Ok(()))
        }
        Err(Failed::Busy) => Attempt::Busy,
        Err(Failed::Rootfs(e)) if !last && !is_whole(engine, record) => Attempt::Lost(e),
        Err(Failed::Error(e) | Failed::Rootfs(e)) => {
            drop(undo);
            if record.document.host_config.auto_remove
                && let Err(e) = remove::remove_locked(engine, record, true)
            {
                tracing::warn!(error = %e, container = record.id, "container not removed");
            }
            done(privileges::explained(e))
        }
    }
}

/// Whether nothing shows that the image's layers are damaged. What an image is like shows only when it is read.
fn is_whole(engine: &Engine, record: &Record) -> bool {
    let store = engine.store();
    let layers = store.chain(record.layer.as_ref()).unwrap_or_default();
    store.is_whole(record.layer.as_ref()).unwrap_or(true) && layers.iter().all(|layer| !layer.is_image)
}

enum Failed {
    Busy,
    /// Its root file system can't be mounted.
    Rootfs(Error),
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Error(error)
    }
}

fn run(engine: &Engine, record: &Record, restarts: u32, undo: &mut Undo) -> Result<(), Failed> {
    privileges::for_container(match record.document.host_config.network_mode.as_str() {
        "none" => privileges::Network::Empty,
        "host" => privileges::Network::Shared,
        mode if mode.starts_with("container:") => privileges::Network::Shared,
        _ => privileges::Network::Connected,
    })?;
    let mut monitor = monitor(engine, &record.id)?;
    let unconnected = |e: Error| e.within("failed to set up container networking");
    let namespace = networking::begin(record).map_err(unconnected)?;
    // The kernel makes the namespace meanwhile.
    let rootfs = launch::rootfs(engine, record).map_err(Failed::Rootfs)?;
    let connected = networking::connect(engine, record, namespace, undo).map_err(unconnected)?;
    let config = Config { restarts, ..launch::config(engine, record, &connected, &rootfs)? };
    let mut held: Vec<BorrowedFd<'_>> = connected.held.iter().map(AsFd::as_fd).collect();
    // While containers run commands come often, and each is spared reading the database's log. It goes without.
    held.extend(engine.db().presence().ok());
    let namespace = connected.namespace.as_ref().map(OwnedFd::as_fd);
    match monitor.start(&config, namespace, &held, Some(rootfs.mounted.as_fd())) {
        Ok(_) => Ok(()),
        Err(client::Error::Failed(Failure { kind: FailureKind::Busy, .. })) => Err(Failed::Busy),
        Err(client::Error::Failed(failure)) if failure.kind == FailureKind::Start => {
            // A program that cannot be run is the user's to mend, anything else is not.
            let kind = match failure.exit_code {
                Some(126 | 127) => crate::Kind::InvalidParameter,
                _ => crate::Kind::System,
            };
            let message = format!("failed to create task for container: {}: unknown", failure.message);
            Err(Error::new(kind, message).into())
        }
        Err(e) => Err(Error::from(e).into()),
    }
}

/// A connection to the container's monitor, which is spawned if there is none.
pub(crate) fn monitor(engine: &Engine, id: &str) -> Result<Connection> {
    let config = engine.config();
    record::make_private_dir(&engine.container_run_dir(id))?;
    let launch =
        Launch { id: id.to_owned(), container_dir: engine.container_dir(id), run_dir: config.run.clone() };
    let (connection, process) = client::ensure(&config.exe, &launch, engine.take_spare(id))?;
    if let Some(process) = process {
        engine.reap(process);
    }
    Ok(connection)
}

/// A connection to the monitor of a container that must be running; the error says so otherwise.
pub(crate) fn running(engine: &Engine, record: &Record) -> Result<Connection> {
    let not_running = || Error::conflict(format!("container {} is not running", record.id));
    let observed = record::observe(engine, &record.id)?;
    if !observed.status.state.is_live() {
        return Err(not_running());
    }
    client::connect(&engine.config().run, &record.id)?.ok_or_else(not_running)
}
