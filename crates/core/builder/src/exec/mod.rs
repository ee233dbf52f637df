//! Doing operations: reading what they read (for the key), then making their layer.

mod agent;
mod caches;
mod change;
mod copy;
mod direct;
mod kept;
mod mkdir;
mod mounts;
mod network;
mod output;
mod process;
mod remote;
mod spec;
mod stubs;

use crate::error::Error;
use crate::files::index::Sum;
use crate::files::select::Match;
use crate::graph::{Op, OpKind};
use crate::progress::Step;
use crate::session::{Scratch, Session, io_error};
use crate::step::Inputs;
use crate::turn::Others;
use oci::ChainId;
use rustix::fs::Timespec;
use std::collections::BTreeMap;
use std::path::PathBuf;
use sys::mount::Overlay;
use sys::root::Root;

/// What was read for the key, and serves the work.
#[derive(Default)]
pub(crate) struct Prepared {
    /// What every path source matched, by its number.
    matches: BTreeMap<usize, Vec<Match>>,
    /// Digests of all that was matched, one after the other, as far as they are known.
    sums: Vec<Option<Sum>>,
    /// Who gets what is copied independently of the layers below.
    pub owner: Option<(u32, u32)>,
    /// Digests of sources that are elsewhere.
    read: BTreeMap<String, String>,
    /// What is known of sources elsewhere, by the source's number.
    remotes: BTreeMap<usize, remote::Remote>,
    /// How many of those had a place in `scratch`.
    places: usize,
    /// The stage or image that files come from.
    view: Option<Root>,
    /// What the process left in mounts that are kept.
    pub kept: Vec<Option<ChainId>>,
    /// Builds that wait for the same result: for them a process goes on when its own build is cancelled.
    pub others: Option<Others>,
    /// Something changed while it was read: the result must not be remembered.
    pub unsteady: bool,
    scratch: Option<Scratch>,
}

/// Finds what the operation reads.
pub(crate) fn select(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    match &op.kind {
        OpKind::Copy(c) => copy::select(session, op, c, inputs, prepared),
        OpKind::Run(_) | OpKind::Mkdir(_) | OpKind::Change(_) | OpKind::Stack(_) => Ok(()),
    }
}

/// Reads what the operation reads; the digests go into its key.
pub(crate) fn read(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    prepared: &mut Prepared,
) -> Result<BTreeMap<String, String>, Error> {
    match &op.kind {
        OpKind::Copy(c) => copy::read(session, op, c, prepared),
        OpKind::Run(run) => mounts::read(session, op, run, inputs, mounts::Known::ByContent),
        OpKind::Mkdir(_) | OpKind::Change(_) | OpKind::Stack(_) => Ok(BTreeMap::new()),
    }
}

pub use agent::{Owner, Relay};
pub use caches::cache_directory;
pub(crate) use caches::renew_all as renew_caches;
pub(crate) use copy::{changed_files, is_local, owner, read as read_copy, run as run_copy};
pub use kept::{Kept, forget_kept, kept, kept_steps, with_mounts};
pub use mounts::open_mounted;
pub(crate) use mounts::{OF_MOUNT, layers as mounted_layers};

/// Makes the operation's layer; the layer stack with it.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    parent: Option<&ChainId>,
    prepared: &mut Prepared,
    step: &Step<'_, '_>,
) -> Result<Option<ChainId>, Error> {
    check_depth(session, op, parent)?;
    match &op.kind {
        OpKind::Copy(c) => copy::run(session, op, c, parent, prepared),
        OpKind::Run(run) => {
            crate::export::emulation::check(session, op)?;
            process::run(session, op, run, inputs, parent, step, prepared)
        }
        OpKind::Mkdir(dir) => mkdir::run(session, op, dir, parent),
        OpKind::Change(changes) => change::run(session, op, changes, parent).map(Some),
        // Nothing runs for it.
        OpKind::Stack(_) => Ok(parent.cloned()),
    }
}

/// Fails where one more layer would be one too many: a process has a directory of ours below them all.
pub(crate) fn check_depth(session: &Session<'_>, op: &Op, parent: Option<&ChainId>) -> Result<(), Error> {
    let below = session.layer_dirs(parent);
    let below = below.map_err(|e| Error::Store { attempt: "find layers", source: e.into() })?.len();
    if below + 1 < sys::mount::LAYERS_MAX {
        return Ok(());
    }
    let most = sys::mount::LAYERS_MAX - 1;
    let mut error =
        session.step_error(op, format!("more than {most} layers: the kernel lays no more over each other"));
    error.hint = Some(
        "do more in one RUN (`RUN a && b`, or a here-document), or go on in a new stage: `FROM scratch` and `COPY --from=<stage> / /`".into(),
    );
    Err(Error::Step(error))
}

/// A writable file system on top of a layer stack.
struct Workspace {
    scratch: Scratch,
    upper: PathBuf,
    work: PathBuf,
}

impl Workspace {
    fn new(session: &Session<'_>) -> Result<Self, Error> {
        let scratch = session.scratch()?;
        let (upper, work) = (scratch.dir("upper")?, scratch.dir("work")?);
        Ok(Self { scratch, upper, work })
    }

    /// The file system: writes go to `upper`. Syncing is the store's when the layer is published.
    fn overlay(&self, session: &Session<'_>, parent: Option<&ChainId>) -> Result<Overlay, Error> {
        let lower = session.layer_dirs(parent);
        let lower = lower.map_err(|e| Error::Store { attempt: "find layers", source: e.into() })?.to_vec();
        let (upper, work) = (Some(self.upper.clone()), Some(self.work.clone()));
        Ok(Overlay { lower, upper, work, volatile: true })
    }

    fn mount(&self, session: &Session<'_>, parent: Option<&ChainId>) -> Result<Root, Error> {
        let mount = self.overlay(session, parent)?.mount();
        let mount = mount.map_err(|e| Error::Store { attempt: "mount layers", source: e.into() })?;
        Root::from_fd(mount).map_err(io_error("open", &self.upper))
    }

    /// Makes what was written a layer.
    fn commit(self, session: &Session<'_>, parent: Option<&ChainId>) -> Result<ChainId, Error> {
        if let Some(seconds) = session.latest() {
            crate::files::copy::clamp_times(&self.upper, seconds)
                .map_err(|e| Error::Store { attempt: "set times of the layer", source: e.into() })?;
        }
        let layer = session.env.store.layer_from_dir(session.lease, parent, &self.upper);
        layer.map(|l| l.chain_id).map_err(|e| Error::Store { attempt: "make layer", source: e.into() })
    }
}

/// A time in nanoseconds since 1970 as the kernel takes it.
fn timespec(nanos: i64) -> Timespec {
    Timespec { tv_sec: nanos.div_euclid(1_000_000_000), tv_nsec: nanos.rem_euclid(1_000_000_000) }
}
