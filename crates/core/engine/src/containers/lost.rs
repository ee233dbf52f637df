//! Containers whose monitor was killed. The kernel kills the first process of a container with its monitor, but for one that
//! has changed its user since (as `su` and most databases' images do): that one runs on, and nobody looks after it.

use std::time::Duration;

use runtime::cgroup::Cgroup;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{launch, record};
use crate::error::{Context, Result};
use crate::{Engine, lock};

/// How long processes that are killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends what such a container has left, unless somebody is just starting or removing it.
pub(super) fn end(engine: &Engine, id: &str) -> Result<()> {
    let record = record::get(engine, id)?;
    let group = group(&record)?;
    if group.is_mounted() && !group.exists() {
        return Ok(());
    }
    let Some(_lock) = lock::try_exclusive(&engine.container_run_dir(id).join("lock"))? else { return Ok(()) };
    let observed = monitor::client::observe(&engine.container_dir(id), &engine.config().run, id);
    match observed.during("look at the container again")? {
        Some(observed) if observed.lost => end_locked(engine, &record),
        _ => Ok(()),
    }
}

/// The same for who has the container's lock.
pub(super) fn end_locked(engine: &Engine, record: &record::Record) -> Result<()> {
    let group = group(record)?;
    if !group.is_mounted() {
        return end_by_root(engine, &record.id);
    }
    if !group.exists() {
        return Ok(());
    }
    group.kill_all().and_then(|()| group.delete(PATIENCE)).during("end what a killed monitor has left")
}

/// Without control groups: those whose root file system is the container's.
fn end_by_root(engine: &Engine, id: &str) -> Result<()> {
    let upper = format!("upperdir={}", engine.container_dir(id).join("upper").display());
    let is_root = |line: &str| line.split(' ').nth(4) == Some("/") && line.contains(&upper);
    let entries = std::fs::read_dir("/proc").during("list processes")?.flatten();
    for entry in entries {
        let Some(pid) = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else {
            continue;
        };
        // From here on the number cannot become another process's.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let mounts = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        if mounts.lines().any(is_root) {
            // One that has ended meanwhile is what we want.
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
    Ok(())
}

fn group(record: &record::Record) -> Result<Cgroup> {
    Cgroup::new(&launch::cgroup_path(record)).system()
}
