//! What a failed `RUN` leaves behind: its file system as a layer, and how the process was started, so that people can look
//! around where it failed.
//!
//! It is a record of the build cache of its own kind: it keeps the layer from being collected until it is pruned, or until
//! [`KEPT_FOR`] has passed or [`KEPT`] newer ones have come. Secrets are not kept.

use super::{Workspace, caches, mounts};
use crate::error::{Error, Left};
use crate::graph::{Mount, MountKind, NetKind, Op, Origin, Run};
use crate::request::{Env, NetMode};
use crate::session::Session;
use crate::step::Inputs;
use oci::runtime::Rlimit;
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};
use state::cache;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

/// What the scopes of such records begin with.
const SCOPE: &str = "failed step";
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
    let record = serde_json::to_string(&describe(session, op, run, inputs)?);
    let entry = cache::Entry {
        key: key(&id),
        chain: Some(chain),
        scope: format!("{SCOPE} {id}: {}", op.instruction),
        record: record.map_err(|e| Error::Store { attempt: "describe the failed step", source: e.into() })?,
        created: now.clone(),
        used: now,
        uses: 0,
    };
    session.env.db.write_fleeting(|tx| {
        forget(tx, KEPT - 1)?;
        cache::put(tx, &entry)
    })?;
    Ok((id, left))
}

/// The network of a process, where it is another than the usual one.
fn network(session: &Session<'_>, run: &Run) -> Option<NetKind> {
    run.network.or(match &session.request.network {
        NetMode::None => Some(NetKind::None),
        NetMode::Host => Some(NetKind::Host),
        NetMode::Bridge | NetMode::Named(_) => None,
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
    let mine = cache::recent_below(tx, SCOPE, u32::MAX)?;
    for (newer, old) in mine.iter().enumerate() {
        let is_old = old.created.parse::<jiff::Timestamp>().is_ok_and(|at| at < limit);
        if newer >= most || is_old {
            cache::remove(tx, &old.key)?;
        }
    }
    Ok(())
}

/// The failed steps that are kept, the last one first: their ids, and what they did.
pub fn kept_steps(env: &Env) -> Result<Vec<(String, String)>, Error> {
    let entries = env.db.read(|tx| cache::recent_below(tx, SCOPE, u32::MAX))?;
    let step = |entry: cache::Entry| {
        let (id, instruction) = entry.scope.strip_prefix(SCOPE)?.trim_start().split_once(": ")?;
        Some((id.to_owned(), instruction.to_owned()))
    };
    Ok(entries.into_iter().filter_map(step).collect())
}

/// The failed step of this id.
pub fn kept(env: &Env, id: &str) -> Result<Option<(ChainId, Kept)>, Error> {
    let Some(entry) = env.db.read(|tx| cache::get(tx, &key(id)))? else { return Ok(None) };
    let kept = serde_json::from_str(&entry.record)
        .map_err(|e| Error::Store { attempt: "read the failed step", source: e.into() })?;
    Ok(entry.chain.map(|chain| (chain, kept)))
}

fn key(id: &str) -> Digest {
    Digest::sha256(format!("{SCOPE} {id}").as_bytes())
}

fn describe(session: &Session<'_>, op: &Op, run: &Run, inputs: &Inputs) -> Result<Kept, Error> {
    let network = match (run.network, &session.request.network) {
        (Some(NetKind::None), _) | (None, NetMode::None) => "none",
        (Some(NetKind::Host), _) | (None, NetMode::Host) => "host",
        (None, NetMode::Bridge) => "default",
        (None, NetMode::Named(name)) => name,
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
            MountKind::Bind | MountKind::Kept => match shared(session, &mount.from, &mount.source) {
                // What the step wrote there was lost with it; the files themselves are not to be written to.
                Some(source) => kept.binds.push((source, target, true)),
                None => kept
                    .missing
                    .push(format!("{target}: files of another stage, of an image or of an archive")),
            },
            MountKind::Secret { id, .. } => kept.missing.push(format!("secret {id}: secrets are not kept")),
            MountKind::Ssh { id, .. } => kept.missing.push(format!("ssh agent {id}: agents are not kept")),
        }
    }
    Ok(kept)
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
