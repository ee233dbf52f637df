//! What a daemon adds to restart policies. A monitor applies its container's policy itself; one that is killed takes the
//! container with it and applies nothing any more. As long as a daemon runs, it does so in its place, whoever started the
//! container.
//!
//! Nothing is polled: starts are read in the events file, and the end of each monitor is that of its process, which a pidfd
//! tells. Several daemons on one root do no harm: the container's lock lets one of them start it.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::events::EventsOptions;
use monitor::{RestartName, Restarts, State};
use tokio::net::unix::pipe::Receiver;

use super::record::{self, Record};
use super::{cleanup, launch, start};
use crate::error::{Context, Kind, Result};
use crate::{Engine, builds, system};

/// Starts what the restart policies want to run after a boot, then keeps it running when monitors are killed. Returns only
/// with an error.
pub async fn keep(engine: &Engine) -> Result<()> {
    let mut options = EventsOptions::default();
    for (key, value) in [("type", "container"), ("event", "start"), ("event", "update")] {
        options.filters.add(key, value);
    }
    // From here on no start is missed.
    let mut events = system::events(engine, options).await?;
    builds::forget_at_start(engine).await?;
    cleanup::boot(engine).await?;
    let keeper = Keeper { engine: engine.clone(), kept: Arc::default() };
    for record in engine.blocking(record::list).await? {
        keeper.keep(record.id);
    }
    while let Some(event) = events.recv().await {
        keeper.keep(event.actor.id);
    }
    Ok(())
}

#[derive(Clone)]
struct Keeper {
    engine: Engine,
    /// Containers that somebody looks after already.
    kept: Arc<Mutex<HashSet<String>>>,
}

/// What there is to do for a container.
enum Next {
    /// It runs: await the end of its monitor.
    Await(OwnedFd),
    /// Its monitor was killed: start it after this pause, for the so manyeth time, unless somebody else does so first.
    Again { pause: Duration, count: u32, ran: Option<jiff::Timestamp> },
    /// It has ended, or is nobody's to start.
    Over,
}

impl Keeper {
    /// Looks after a container as long as it runs under a policy.
    fn keep(&self, id: String) {
        if !self.kept().insert(id.clone()) {
            return;
        }
        let keeper = self.clone();
        tokio::spawn(async move {
            if let Err(e) = keeper.follow(&id).await {
                tracing::warn!(error = %e, container = id, "restart policy not applied");
                keeper.kept().remove(&id);
            }
        });
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, id: &str) -> Result<()> {
        let mut restarts = Restarts::default();
        loop {
            let own = id.to_owned();
            let look = move |engine: &Engine| {
                let next = look(engine, &own, &mut restarts);
                next.map(|next| (next, restarts))
            };
            let next;
            (next, restarts) = self.engine.blocking(look).await?;
            match next {
                Next::Await(process) => ended(process).await?,
                Next::Again { pause, count, ran } => {
                    tokio::time::sleep(pause).await;
                    let own = id.to_owned();
                    self.engine.blocking(move |engine| again(engine, &own, count, ran)).await?;
                }
                Next::Over if self.is_over(id).await? => return Ok(()),
                Next::Over => {}
            }
        }
    }

    /// Whether it is over still once a start would be noticed by who reads the events.
    async fn is_over(&self, id: &str) -> Result<bool> {
        self.kept().remove(id);
        let own = id.to_owned();
        let goes_on =
            move |engine: &Engine| Ok(is_kept(engine, &own)?.is_some() || lost(engine, &own)?.is_some());
        let goes_on = self.engine.blocking(goes_on).await?;
        // Somebody else looks after it who has come meanwhile.
        Ok(!goes_on || !self.kept().insert(id.to_owned()))
    }
}

/// The end of a process that is not our child, as a rule.
async fn ended(process: OwnedFd) -> Result<()> {
    // To the runtime a pidfd is what a pipe is: something that becomes readable.
    let process = Receiver::from_owned_fd_unchecked(process).during("await the end of a monitor")?;
    process.readable().await.during("await the end of a monitor")
}

/// The monitor of a container that runs under a policy.
fn is_kept(engine: &Engine, id: &str) -> Result<Option<OwnedFd>> {
    let record = match record::get(engine, id) {
        Err(e) if e.kind == Kind::NotFound => return Ok(None),
        record => record?,
    };
    let policy = launch::restart_policy(&record.document.host_config.restart_policy);
    let observed = record::observe(engine, id)?;
    if policy.name == RestartName::No || !observed.alive || !observed.status.state.is_live() {
        return Ok(None);
    }
    Ok(monitor::client::process(&engine.config().run, id)?)
}

/// The container if its monitor was killed since anybody looked: a start and that may both have gone by.
fn lost(engine: &Engine, id: &str) -> Result<Option<Record>> {
    let record = match record::get(engine, id) {
        Err(e) if e.kind == Kind::NotFound => return Ok(None),
        record => record?,
    };
    Ok(record::observe(engine, id)?.lost.then_some(record))
}

fn look(engine: &Engine, id: &str, restarts: &mut Restarts) -> Result<Next> {
    if let Some(process) = is_kept(engine, id)? {
        return Ok(Next::Await(process));
    }
    let Some(record) = lost(engine, id)? else { return Ok(Next::Over) };
    let Some(status) = cleanup::settle(engine, &record)? else { return Ok(Next::Over) };
    if status.restart_count == 0 {
        // It was started by hand: pauses begin anew too.
        *restarts = Restarts::default();
    }
    let policy = launch::restart_policy(&record.document.host_config.restart_policy);
    let ran = status.started_at.map(|began| jiff::Timestamp::now().duration_since(began));
    let ran = ran.and_then(|ran| Duration::try_from(ran).ok()).unwrap_or_default();
    restarts.count = status.restart_count;
    Ok(match restarts.next(policy, status.exit_code, status.manually_stopped, ran) {
        Some(pause) => Next::Again { pause, count: restarts.count, ran: status.started_at },
        None => Next::Over,
    })
}

/// Starts it unless somebody was faster: started it, stopped it, removed it, or changed its policy. One that was started is
/// another run, wherever it is by now: what is to come after that does not go by the `count` of the one that `ran` then.
fn again(engine: &Engine, id: &str, count: u32, ran: Option<jiff::Timestamp>) -> Result<()> {
    let wanted = |record: &Record| {
        let policy = launch::restart_policy(&record.document.host_config.restart_policy);
        let status = record::observe(engine, id)?.status;
        let is_same = status.state == State::Exited && status.started_at == ran;
        Ok(policy.name != RestartName::No && is_same && !status.manually_stopped)
    };
    match start::start_if(engine, id, count, wanted) {
        Err(e) if matches!(e.kind, Kind::NotModified | Kind::NotFound) => Ok(()),
        result => result,
    }
}
