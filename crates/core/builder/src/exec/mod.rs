//! Doing operations: reading what they read (for the key), then making their layer.

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
use crate::files::select::Match;
use crate::graph::{self, Op, OpKind};
use crate::progress::Step;
use crate::session::{Scratch, Session, io_error};
use crate::step::Inputs;
use oci::ChainId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use sys::mount::Overlay;
use sys::root::Root;

/// What was read for the key, and serves the work.
#[derive(Default)]
pub(crate) struct Prepared {
    /// What every path source matched, by its number.
    matches: Arc<BTreeMap<usize, Vec<Match>>>,
    /// Digests of sources that are elsewhere.
    read: BTreeMap<String, String>,
    /// What is known of sources elsewhere, by the source's number.
    remotes: BTreeMap<usize, remote::Remote>,
    /// How many of those had a place in `scratch`.
    places: usize,
    /// The stage or image that files come from.
    view: Option<Arc<Root>>,
    /// Docker's reading of the line holds.
    literal: bool,
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
        OpKind::Run(_) | OpKind::Mkdir(_) => Ok(()),
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
        OpKind::Copy(c) => {
            let (read, steady) = copy::Selected::of(prepared).digests(session, op, c)?;
            prepared.unsteady |= !steady;
            Ok(read)
        }
        OpKind::Run(run) => mounts::read(session, op, run, inputs),
        OpKind::Mkdir(_) => Ok(BTreeMap::new()),
    }
}

/// [`read`] and [`run`] side by side, for a copy of local files that is to be made whatever they hold.
pub(crate) fn read_and_run(
    session: &Session<'_>,
    op: &Op,
    copy: &graph::Copy,
    parent: Option<&ChainId>,
    prepared: &mut Prepared,
) -> Result<(BTreeMap<String, String>, Option<ChainId>), Error> {
    let selected = copy::Selected::of(prepared);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || selected.digests(session, op, copy));
        let made = copy::run(session, op, copy, parent, prepared);
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (read, steady) = read?;
        prepared.unsteady |= !steady;
        Ok((read, made?))
    })
}

pub(crate) use copy::is_local;
pub use kept::{Kept, kept};

/// Makes the operation's layer; the layer stack with it.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    parent: Option<&ChainId>,
    prepared: &mut Prepared,
    step: &Step<'_, '_>,
) -> Result<Option<ChainId>, Error> {
    match &op.kind {
        OpKind::Copy(c) => copy::run(session, op, c, parent, prepared),
        OpKind::Run(run) => {
            crate::export::emulation::check(session, op)?;
            process::run(session, op, run, inputs, parent, step)
        }
        OpKind::Mkdir(dir) => mkdir::run(session, op, dir, parent),
    }
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
        let overlay = session.env.store.overlay(parent, Some(&self.upper), Some(&self.work));
        let mut overlay = overlay.map_err(|e| Error::Store { attempt: "find layers", source: e.into() })?;
        overlay.volatile = true;
        Ok(overlay)
    }

    fn mount(&self, session: &Session<'_>, parent: Option<&ChainId>) -> Result<Root, Error> {
        let mount = self.overlay(session, parent)?.mount();
        let mount = mount.map_err(|e| Error::Store { attempt: "mount layers", source: e.into() })?;
        Root::from_fd(mount).map_err(io_error("open", &self.upper))
    }

    /// Makes what was written a layer.
    fn commit(self, session: &Session<'_>, parent: Option<&ChainId>) -> Result<ChainId, Error> {
        if let (Some(seconds), true) = (session.request.source_date_epoch, session.request.rewrite_timestamp)
        {
            crate::files::copy::clamp_times(&self.upper, seconds)
                .map_err(|e| Error::Store { attempt: "set times of the layer", source: e.into() })?;
        }
        let layer = session.env.store.layer_from_dir(session.lease, parent, &self.upper);
        layer.map(|l| l.chain_id).map_err(|e| Error::Store { attempt: "make layer", source: e.into() })
    }
}
