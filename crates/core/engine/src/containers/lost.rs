//! Containers whose monitor was killed. The kernel kills the first process of a container with its monitor, but for one that
//! has changed its user since (as `su` and most databases' images do): that one runs on, and nobody looks after it.

use std::time::Duration;

use runtime::cgroup::Cgroup;

use super::{launch, record};
use crate::error::{Context, Result};
use crate::{Engine, lock};

/// How long processes that are killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends what such a container has left, unless somebody is just starting or removing it.
pub(super) fn end(engine: &Engine, id: &str) -> Result<()> {
    let record = record::get(engine, id)?;
    if !group(&record)?.exists() {
        return Ok(());
    }
    let Some(_lock) = lock::try_exclusive(&engine.container_run_dir(id).join("lock"))? else { return Ok(()) };
    let observed = monitor::client::observe(&engine.container_dir(id), &engine.config().run, id);
    match observed.during("look at the container again")? {
        Some(observed) if observed.lost => end_locked(&record),
        _ => Ok(()),
    }
}

/// The same for who has the container's lock.
pub(super) fn end_locked(record: &record::Record) -> Result<()> {
    let group = group(record)?;
    if !group.exists() {
        return Ok(());
    }
    group.kill_all().and_then(|()| group.delete(PATIENCE)).during("end what a killed monitor has left")
}

fn group(record: &record::Record) -> Result<Cgroup> {
    Cgroup::new(&launch::cgroup_path(record)).system()
}
