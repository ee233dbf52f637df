//! What a killed build leaves outside of the store: control groups and secrets, named after its lease, and the locks of
//! its steps, of their networks and of named groups. The next build takes it away, a prune, or a daemon that starts.

use std::path::{Path, PathBuf};

use super::{groups, network};
use crate::error::{Context, Result};
use crate::{Engine, lock};

/// What the names of the control groups of this root's builds begin with; the id of the build's lease follows.
pub(super) fn cgroup_prefix(engine: &Engine) -> String {
    format!("build-{}-", engine.mark())
}

/// Secrets of builds that run, below a directory in memory.
pub(super) fn secrets(engine: &Engine) -> PathBuf {
    engine.config().run.join("build")
}

/// Whether the control group of this name is a build's of this root whose process is dead.
pub(crate) fn is_dead_cgroup(engine: &Engine, name: &str) -> Result<bool> {
    match name.strip_prefix(&cgroup_prefix(engine)) {
        Some(rest) => Ok(!is_alive(engine, rest)?),
        None => Ok(false),
    }
}

/// Files and directories of dead builds.
pub(crate) fn files(engine: &Engine) -> Result<Vec<PathBuf>> {
    let mut dead = Vec::new();
    for locks in [network::locks(engine), steps(engine)] {
        for path in entries(&locks)? {
            if !lock::is_held(&path)? {
                dead.push(path);
            }
        }
    }
    dead.extend(dead_secrets(engine)?);
    Ok(dead)
}

/// Locks of steps that are made.
fn steps(engine: &Engine) -> PathBuf {
    engine.config().root.join("steps")
}

/// How much a look for leftovers may cost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A few small directories: after every build.
    Brief,
    /// Tables too: when a daemon starts, and with prunes.
    Thorough,
}

/// Removes all that killed builds have left. Whatever goes wrong is no failure of who looks: `system check` tells of it.
pub(super) fn forget(engine: &Engine, look: Look) {
    let thoroughly = look == Look::Thorough;
    // A step that is killed leaves its lock in any case.
    if !thoroughly && files(engine).is_ok_and(|dead| dead.is_empty()) {
        return;
    }
    forget_secrets(engine);
    let forgotten = [
        ("control groups", groups::forget_dead(engine)),
        ("networks", network::forget_dead(engine, thoroughly)),
        ("locks", forget_locks(engine)),
    ];
    for (what, result) in forgotten {
        if let Err(error) = result {
            tracing::warn!(%error, "{what} of killed builds not removed");
        }
    }
}

/// The same when a daemon starts.
pub async fn forget_at_start(engine: &Engine) -> Result<()> {
    let forget = |engine: &Engine| {
        forget(engine, Look::Thorough);
        Ok(())
    };
    engine.blocking(forget).await
}

fn forget_locks(engine: &Engine) -> Result<()> {
    for path in entries(&steps(engine))? {
        lock::remove_if_free(&path, || Ok(()))?;
    }
    Ok(())
}

/// Removes one of [`files`].
pub(crate) fn remove(engine: &Engine, path: &Path) -> Result<()> {
    if path.starts_with(secrets(engine)) {
        return std::fs::remove_dir_all(path).during(format_args!("remove {}", path.display()));
    }
    network::forget_dead(engine, true)?;
    groups::forget_dead(engine)?;
    lock::remove_if_free(path, || Ok(())).map(drop)
}

/// Removes the secrets of builds that were killed: they wait for no check.
pub(super) fn forget_secrets(engine: &Engine) {
    let removed = dead_secrets(engine).and_then(|dead| {
        dead.iter().try_for_each(|path| {
            std::fs::remove_dir_all(path).during(format_args!("remove {}", path.display()))
        })
    });
    if let Err(e) = removed {
        tracing::warn!(error = %e, "secrets of killed builds not removed");
    }
}

fn dead_secrets(engine: &Engine) -> Result<Vec<PathBuf>> {
    let mut dead = Vec::new();
    for path in entries(&secrets(engine))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_alive(engine, &name)? {
            dead.push(path);
        }
    }
    Ok(dead)
}

/// Whether the build is alive that named something after its lease.
fn is_alive(engine: &Engine, name: &str) -> Result<bool> {
    let lease = name.split('-').next().unwrap_or_default();
    Ok(!lease.is_empty() && engine.store().lease_is_alive(lease)?)
}

pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).during(format_args!("list {}", dir.display())),
    }
}
