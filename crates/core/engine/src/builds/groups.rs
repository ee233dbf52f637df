//! Control groups that builds were told to make theirs in (`--cgroup-parent`).
//!
//! ```text
//! <run>/builds/parent-<digest>   its path; on a second line the topmost group that a build made on the way to it
//! ```
//!
//! Builds hold the file shared as long as they use the group. The last one takes the group away again if builds have made
//! it and it is empty; after a kill whoever finds the file unheld does.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::build::BuildOptions;
use oci::Digest;
use runtime::cgroup::Cgroup;
use rustix::fs::{FlockOperation, flock};

use super::{leftovers, network};
use crate::Engine;
use crate::containers::record::make_private_dir;
use crate::error::{Context as _, Error, Result};

/// What the names of such files begin with.
pub(super) const PREFIX: &str = "parent-";
/// How long the last processes of a dead step may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A group that a build makes its own in; let go when dropped.
pub(super) struct Parent {
    path: PathBuf,
    file: File,
}

/// The group that the options name, if they do.
pub(super) fn hold(engine: &Engine, options: &BuildOptions) -> Result<Option<Parent>> {
    let name = options.cgroup_parent.trim_matches('/');
    if name.is_empty() {
        return Ok(None);
    }
    let group = format!("/{name}");
    let missing = topmost_missing(&group)?;
    let directory = network::locks(engine);
    make_private_dir(&directory)?;
    let digest = Digest::sha256(group.as_bytes());
    let path = directory.join(format!("{PREFIX}{}", digest.hex().get(..16).unwrap_or_default()));
    let failed = || format!("lock {}", path.display());
    loop {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.during(failed())?;
        // Alone it is written, unless a killed build has left it, which knew better who made the group.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && file.metadata().during(failed())?.len() == 0
        {
            let text = format!("{group}\n{}\n", missing.as_deref().unwrap_or_default());
            std::io::Write::write_all(&mut &file, text.as_bytes()).during(failed())?;
        }
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockShared))
            .map_err(std::io::Error::from)
            .during(failed())?;
        // The last one that held it may have taken it away.
        let there = std::fs::metadata(&path).is_ok_and(|now| {
            file.metadata().is_ok_and(|mine| (mine.ino(), mine.dev()) == (now.ino(), now.dev()))
        });
        if there {
            return Ok(Some(Parent { path, file }));
        }
    }
}

/// The highest group on the way to this one that is not there yet.
fn topmost_missing(group: &str) -> Result<Option<String>> {
    let ends = group.match_indices('/').map(|(at, _)| at).skip(1).chain([group.len()]);
    for end in ends {
        let above = &group[..end];
        let found = Cgroup::new(above).map_err(|e| Error::invalid(format!("invalid cgroup parent: {e}")))?;
        if !found.exists() {
            return Ok(Some(above.to_owned()));
        }
    }
    Ok(None)
}

impl Drop for Parent {
    fn drop(&mut self) {
        if let Err(error) = take_away(&self.path, &self.file) {
            tracing::warn!(%error, "control group of a build not removed");
        }
    }
}

/// Removes the file, and the group if builds have made it, unless somebody uses it. A lock that is to become another one is
/// let go first, so of several who end at once the last one gets it.
fn take_away(path: &Path, file: &File) -> Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
        Err(e) => return Err(e).during(format_args!("lock {}", path.display())),
    }
    if file.metadata().during(format_args!("look at {}", path.display()))?.nlink() == 0 {
        return Ok(());
    }
    let (group, made) = read(path)?;
    if !made.is_empty() {
        remove_up_to(&group, &made);
    }
    std::fs::remove_file(path).during(format_args!("remove {}", path.display()))
}

/// The group, and the topmost that was made on the way to it.
fn read(path: &Path) -> Result<(String, String)> {
    let text = std::fs::read_to_string(path).during(format_args!("read {}", path.display()))?;
    let mut lines = text.lines().map(str::to_owned);
    Ok((lines.next().unwrap_or_default(), lines.next().unwrap_or_default()))
}

/// Removes groups from the lowest on. One that others have begun to use stays, and what is above it with it.
fn remove_up_to(group: &str, topmost: &str) {
    let mut next = Some(group);
    while let Some(path) = next.filter(|path| path.len() >= topmost.len() && path.starts_with(topmost)) {
        let is_empty = Cgroup::new(path).is_ok_and(|found| {
            found.names_below().is_empty()
                && found.pids().is_ok_and(|pids| pids.is_empty())
                && found.delete(Duration::ZERO).is_ok()
        });
        if !is_empty {
            return;
        }
        next = path.rsplit_once('/').map(|(above, _)| above);
    }
}

/// Takes away the groups of killed builds: those where groups are made that nobody names a place for, and those in places
/// that were named.
pub(super) fn forget_dead(engine: &Engine) -> Result<()> {
    forget_below(engine, "/dhow")?;
    for path in leftovers::entries(&network::locks(engine))? {
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
            continue;
        }
        let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            forget_below(engine, &read(&path)?.0)?;
            take_away(&path, &file)?;
        }
    }
    Ok(())
}

fn forget_below(engine: &Engine, parent: &str) -> Result<()> {
    let Ok(group) = Cgroup::new(parent) else { return Ok(()) };
    for name in group.names_below() {
        if leftovers::is_dead_cgroup(engine, &name)? {
            let dead = Cgroup::new(&format!("{parent}/{name}")).system()?;
            dead.kill_all().system()?;
            dead.delete(PATIENCE).system()?;
        }
    }
    Ok(())
}
