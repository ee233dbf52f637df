//! What a failed `RUN` leaves behind: its file system as a layer, and how the process was started, so that people can look
//! around where it failed.
//!
//! It is a record of the build cache of its own kind: it keeps the layer from being collected until it is pruned, or until
//! [`KEPT_FOR`] has passed or [`KEPT`] newer ones have come. So does a record for each stage or image that it had mounted; whoever
//! looks around sees their files at the places of the mounts. Secrets are not kept.

use super::{Workspace, caches, mounts};
use crate::error::{BoxError, Error, Left};
use crate::graph::{Mount, MountKind, NetKind, Op, Origin, Run};
use crate::request::{Env, NetMode};
use crate::session::{Session, make_private, tree};
use crate::step::Inputs;
use oci::runtime::Rlimit;
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};
use state::cache;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::mount::Overlay;

/// What the scopes of such records begin with.
const SCOPE: &str = "failed step";
/// The same of what they had mounted.
const MOUNTED: &str = "mounted in failed step";
/// How many are kept.
const KEPT: usize = 5;
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// A failed step that can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The instruction.
    pub instruction: String,
    /// The command line that failed.
    pub argv: Vec<String>,
    /// Variables as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// `default`, `none`, `host`, or a network's name.
    pub network: String,
    /// It ran with `--security=insecure`.
    pub insecure: bool,
    /// Devices by their whole names.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Names and addresses besides the network's.
    #[serde(default)]
    pub hosts: Vec<(String, String)>,
    /// Limits of the process.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    /// Size of `/dev/shm` in bytes, where it is another than usual.
    #[serde(default)]
    pub shm_size: Option<u64>,
    /// Directories of this machine that were mounted: where from, where to, read-only.
    pub binds: Vec<(PathBuf, String, bool)>,
    /// What was mounted of stages and images: their layers, where from, where to.
    #[serde(default)]
    pub layers: Vec<(ChainId, String, String)>,
    /// Where there was memory.
    pub tmpfs: Vec<String>,
    /// What was mounted and is not kept, in words.
    pub missing: Vec<String>,
}

/// Keeps what a step has written; the id that it is found by, and what it left.
pub(super) fn keep(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    inputs: &Inputs,
    (workspace, parent, written): (Workspace, Option<&ChainId>, Vec<mounts::Kept>),
) -> Result<(String, Left), Error> {
    let chain = workspace.commit(session, parent)?;
    let mut mounts_after = vec![None; run.mounts.len()];
    for mount in written.into_iter().filter(|_| session.request.keep_mounts) {
        let number = mount.number;
        mounts_after[number] = mount.commit(session)?;
    }
    let mounts = run.mounts.iter().map(|mount| content(session, op, mount, inputs));
    let left = Left {
        run: Run { network: network(session, run), ..run.clone() },
        after: chain.clone(),
        before: parent.cloned(),
        mounts: mounts.collect::<Result<_, _>>()?,
        mounts_after,
    };
    let id = format!("{:012x}", fastrand::u64(..) >> 16);
    let now = jiff::Timestamp::now().to_string();
    let kept = describe(session, op, run, inputs)?;
    let record = serde_json::to_string(&kept);
    let record =
        record.map_err(|e| Error::Store { attempt: "describe the failed step", source: e.into() })?;
    let entry = |key: Digest, chain: &ChainId, scope: &str, record: String| cache::Entry {
        key,
        chain: Some(chain.clone()),
        scope: format!("{scope} {id}: {}", op.instruction),
        record,
        created: now.clone(),
        used: now.clone(),
        uses: 0,
    };
    let step = entry(key(&id), &chain, SCOPE, record);
    let mounted = kept.layers.iter().map(|(chain, _, target)| {
        let key = Digest::sha256(format!("{MOUNTED} {id} {target}").as_bytes());
        entry(key, chain, MOUNTED, String::new())
    });
    let entries: Vec<cache::Entry> = mounted.chain([step]).collect();
    session.env.db.write_fleeting(|tx| {
        forget(tx, KEPT - 1)?;
        entries.iter().try_for_each(|entry| cache::put(tx, entry).map(drop))
    })?;
    Ok((id, left))
}

/// The network of a process, where it is another than the usual one.
fn network(session: &Session<'_>, run: &Run) -> Option<NetKind> {
    run.network.or(match &session.request.network {
        NetMode::None => Some(NetKind::None),
        NetMode::Host => Some(NetKind::Host),
        NetMode::Bridge | NetMode::Named(_) | NetMode::Container(_) => None,
    })
}

/// What a mount began with, as layers.
fn content(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    inputs: &Inputs,
) -> Result<Option<(ChainId, String)>, Error> {
    match (&mount.kind, &mount.from) {
        (MountKind::Bind | MountKind::Kept | MountKind::Cache { seeded: true, .. }, Origin::Fs(fs)) => {
            Ok(inputs.chain(session, op, fs).map(|chain| (chain, mount.source.clone())))
        }
        (MountKind::Bind | MountKind::Kept, Origin::Context(_)) if session.request.keep_mounts => {
            mounts::of_context(session, op, mount).map(Some)
        }
        _ => Ok(None),
    }
}

/// Lets go of what was kept too long; its layers are garbage of the store then.
pub fn forget_kept(env: &Env) -> Result<(), Error> {
    Ok(env.db.write_fleeting(|tx| forget(tx, KEPT))?)
}

/// All but the newest, and of these the old ones too.
fn forget(tx: &state::Tx<'_>, most: usize) -> Result<(), state::Error> {
    let limit = jiff::Timestamp::now() - KEPT_FOR;
    let mut steps = cache::recent_below(tx, SCOPE, u32::MAX)?;
    let is_old =
        |step: &cache::Entry| step.created.parse::<jiff::Timestamp>().is_ok_and(|created| created < limit);
    let old = steps.iter().position(is_old).unwrap_or(steps.len());
    let gone = steps.split_off(old.min(most));
    let ids: Vec<&str> = steps.iter().filter_map(|step| named(SCOPE, step)).map(|(id, _)| id).collect();
    let mounted = cache::recent_below(tx, MOUNTED, u32::MAX)?;
    let lost = |of: &&cache::Entry| named(MOUNTED, of).is_none_or(|(id, _)| !ids.contains(&id));
    for entry in gone.iter().chain(mounted.iter().filter(lost)) {
        cache::remove(tx, &entry.key)?;
    }
    Ok(())
}

/// The id of a step, and what it did, of a record below `scope`.
fn named<'e>(scope: &str, entry: &'e cache::Entry) -> Option<(&'e str, &'e str)> {
    entry.scope.strip_prefix(scope)?.trim_start().split_once(": ")
}

/// The failed steps that are kept, the last one first: their ids, and what they did.
pub fn kept_steps(env: &Env) -> Result<Vec<(String, String)>, Error> {
    let entries = env.db.read(|tx| cache::recent_below(tx, SCOPE, u32::MAX))?;
    let step = |(id, instruction): (&str, &str)| (id.to_owned(), instruction.to_owned());
    Ok(entries.iter().filter_map(|entry| named(SCOPE, entry)).map(step).collect())
}

/// The failed step of this id.
pub fn kept(env: &Env, id: &str) -> Result<Option<(ChainId, Kept)>, Error> {
    let Some(entry) = env.db.read(|tx| cache::get(tx, &key(id)))? else { return Ok(None) };
    let kept = serde_json::from_str(&entry.record)
        .map_err(|e| Error::Store { attempt: "read the failed step", source: e.into() })?;
    Ok(entry.chain.map(|chain| (chain, kept)))
}

/// The file system of a failed step with what it had mounted of stages and images, at the places of the mounts. What is not here
/// any more goes to those that are missing.
pub fn with_mounts(
    env: &Env,
    lease: &store::Lease,
    chain: ChainId,
    kept: &mut Kept,
) -> Result<ChainId, Error> {
    let failed = |source: BoxError| Error::Store { attempt: "put mounts in their places", source };
    let here = |(chain, ..): &(ChainId, String, String)| {
        env.store.use_layer(lease, chain).is_ok_and(|l| l.is_some())
    };
    let (layers, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut kept.layers).into_iter().partition(here);
    kept.missing.extend(gone.into_iter().map(|(.., target)| format!("{target}: its layers were removed")));
    if layers.is_empty() {
        return Ok(chain);
    }
    let scratch = lease.scratch();
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for dir in [&scratch, &upper, &work] {
        make_private(dir)?;
    }
    let mounted = |chain: &ChainId, upper: Option<&Path>, work: Option<&Path>| {
        let overlay = env.store.overlay(Some(chain), upper, work).map_err(|e| failed(e.into()))?;
        mounts::mounted(&Overlay { volatile: upper.is_some(), ..overlay }).map_err(|e| failed(e.into()))
    };
    let root = mounted(&chain, Some(&upper), Some(&work))?;
    for (chain, source, target) in &layers {
        let from = mounted(chain, None, None)?;
        match root.remove_contents(target) {
            // A file, or nothing yet.
            Err(e) if matches!(e.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => {}
            other => other.map_err(|e| failed(e.into()))?,
        }
        mounts::copy_below(&tree(&from, None, &|| false), source, &root, target)
            .map_err(|e| failed(e.into()))?;
    }
    drop(root);
    let layer = env.store.layer_from_dir(lease, Some(&chain), &upper);
    layer.map(|layer| layer.chain_id).map_err(|e| failed(e.into()))
}

fn key(id: &str) -> Digest {
    Digest::sha256(format!("{SCOPE} {id}").as_bytes())
}

fn describe(session: &Session<'_>, op: &Op, run: &Run, inputs: &Inputs) -> Result<Kept, Error> {
    let network = match run.network {
        Some(NetKind::None) => NetMode::None,
        Some(NetKind::Host) => NetMode::Host,
        None => session.request.network.clone(),
    };
    let mut kept = Kept {
        instruction: op.instruction.clone(),
        argv: run.argv.clone(),
        env: run.env.clone(),
        cwd: run.cwd.clone(),
        user: run.user.clone(),
        network: network.to_string(),
        insecure: run.insecure,
        devices: run.devices.clone(),
        hosts: session.request.extra_hosts.iter().chain(&run.own.hosts).cloned().collect(),
        rlimits: session.request.limits.rlimits.iter().chain(&run.own.rlimits).cloned().collect(),
        shm_size: session.request.limits.shm_size,
        binds: Vec::new(),
        layers: Vec::new(),
        tmpfs: Vec::new(),
        missing: Vec::new(),
    };
    for mount in &run.mounts {
        let target = mount.target.clone();
        match &mount.kind {
            MountKind::Cache { .. } => {
                let Some(name) = caches::directory(session, op, mount, inputs)? else { continue };
                kept.binds.push((session.env.cache_mounts.join(name), target, mount.readonly));
            }
            MountKind::Tmpfs { .. } => kept.tmpfs.push(target),
            MountKind::Bind | MountKind::Kept => match shown(session, op, mount, inputs) {
                Some(Shown::Shared(source)) => kept.binds.push((source, target, true)),
                Some(Shown::Layers(chain)) => kept.layers.push((chain, mount.source.clone(), target)),
                None => kept.missing.push(format!("{target}: files of an archive")),
            },
            MountKind::Secret { id, .. } => kept.missing.push(format!("secret {id}: secrets are not kept")),
            MountKind::Ssh { id, .. } => kept.missing.push(format!("ssh agent {id}: agents are not kept")),
        }
    }
    Ok(kept)
}

/// What a mount showed, as far as it stays when the build has ended.
enum Shown {
    /// What the step wrote there was lost with it; the files themselves are not to be written to.
    Shared(PathBuf),
    Layers(ChainId),
}

fn shown(session: &Session<'_>, op: &Op, mount: &Mount, inputs: &Inputs) -> Option<Shown> {
    match &mount.from {
        Origin::Fs(fs) => inputs.chain(session, op, fs).map(Shown::Layers),
        Origin::Context(_) => shared(session, &mount.from, &mount.source).map(Shown::Shared),
    }
}

/// A directory or file of a context that stays when the build has ended.
fn shared(session: &Session<'_>, from: &Origin, source: &str) -> Option<PathBuf> {
    let root = &session.context_of(from)?.root;
    let top = std::fs::read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd())).ok()?;
    if top.starts_with(session.env.store.root()) {
        return None;
    }
    let inside = crate::files::real::path(root, std::path::Path::new(source)).ok()?;
    Some(top.join(inside))
}
