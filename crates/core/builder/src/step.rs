//! One node of the graph: key, cache, work.

mod fault;

pub(crate) use fault::{at_step, file_error};

use crate::error::{BoxError, Error, chain};
use crate::event::Stream;
use crate::exec;
use crate::explain::{self, Miss, Noted};
use crate::graph::{Copy, CopySource, Fs, Op, OpKind, Origin};
use crate::key::Record;
use crate::progress::Step;
use crate::promise::{Layers, Settled};
use crate::request::{Image, NetMode};
use crate::session::{Output, Session};
use crate::stack;
use crate::transfer::Told;
use crate::turn::Turn;
use oci::{ChainId, Digest};
use state::cache;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// What a step reads besides the layers below it.
pub(crate) struct Inputs {
    /// The stacks of everything that the operation needs, in the order of [`Op::needs`].
    pub outputs: Vec<Output>,
}

impl Inputs {
    /// The stack of a file system that the operation reads.
    pub fn chain(&self, session: &Session<'_>, op: &Op, fs: &crate::graph::Fs) -> Option<ChainId> {
        let wanted = session.node(fs)?;
        let nodes = needs(session, op);
        let at = nodes.iter().position(|n| *n == wanted)?;
        self.outputs.get(at).and_then(|o| o.chain.clone())
    }

    /// Whether this build made what the operation works on.
    fn is_on_new(&self, op: &Op) -> bool {
        // It is the first of what is needed.
        op.base != Fs::Scratch && self.outputs.first().is_some_and(|output| output.made)
    }
}

/// The nodes that an operation waits for.
pub(crate) fn needs(session: &Session<'_>, op: &Op) -> Vec<usize> {
    op.needs().into_iter().filter_map(|fs| session.node(fs)).collect()
}

/// A base image: its layers must be here, and stay. Those that nobody needs are left where they are.
pub(crate) fn image(session: &Session<'_>, index: usize) -> Result<Output, Error> {
    let used = &session.graph.images[index];
    let step = session.progress.step(&used.name, &used.stage, &format!("FROM {}", used.reference));
    let image = &session.images[index];
    let output = Output { steps: vec![step.id], ..image_output(image) };
    if session.settled.contains_key(&index) {
        step.cached(output.chain.as_ref());
        step.noted("its layers are not needed");
        return Ok(output);
    }
    let failed = |source: BoxError| {
        let (reference, place) = (used.reference.clone(), Box::new(session.place(used.span)));
        let error = match session.stopped() {
            true => Error::Cancelled,
            false => Error::Layers { reference, place, source },
        };
        step.ended_by(&error);
        error
    };
    if let Some(layers) = &image.layers {
        layers.bring(&|line| step.line(&line), &|| session.stopped()).map_err(failed)?;
    }
    for id in ChainId::all(&image.config.rootfs.diff_ids) {
        let found = session.env.store.use_layer(session.lease, &id);
        let found =
            found.map_err(|e| Error::Store { attempt: "find layers of the base image", source: e.into() })?;
        found.ok_or_else(|| failed(store::Error::NoLayer(id).into()))?;
    }
    match image.layers {
        Some(_) => step.made(output.chain.as_ref()),
        None => step.cached(output.chain.as_ref()),
    }
    Ok(output)
}

/// What an image gives.
pub(crate) fn image_output(image: &Image) -> Output {
    let (chain, created) = (ChainId::of(&image.config.rootfs.diff_ids), image.config.created.clone());
    Output { chain, created: created.unwrap_or_default(), ..Output::default() }
}

/// An operation.
pub(crate) fn op(session: &Session<'_>, op: &Op, outputs: Vec<Output>) -> Result<Output, Error> {
    if let OpKind::Stack(stack) = &op.kind {
        return stack::run(session, op, stack, outputs);
    }
    let step = session.progress.step_on(steps_of(&outputs), &op.name, &op.stage, &op.instruction);
    let inputs = Inputs { outputs };
    let result =
        attempt(session, op, &inputs, &step).map_err(|error| fault::located(session, op, &inputs, error));
    match result {
        Ok(output) => Ok(Output { steps: vec![step.id], ..output }),
        Err(error) => {
            step.ended_by(&error);
            Err(error)
        }
    }
}

/// The steps that gave these, each once.
pub(crate) fn steps_of(outputs: &[Output]) -> Vec<u64> {
    let steps: BTreeSet<u64> = outputs.iter().flat_map(|output| output.steps.iter().copied()).collect();
    steps.into_iter().collect()
}

/// An operation of which all is known already.
pub(crate) fn settled(
    session: &Session<'_>,
    op: &Op,
    settled: &Settled,
    outputs: Vec<Output>,
) -> Result<Output, Error> {
    let step = session.progress.step_on(steps_of(&outputs), &op.name, &op.stage, &op.instruction);
    let of_step = |output| Output { steps: vec![step.id], ..output };
    let output = match &settled.layers {
        Layers::Here => settled.output.clone(),
        Layers::Left(_) => {
            let output = hit(session, &step, of_step(settled.output.clone()));
            step.noted("known from elsewhere, and its layers are not needed");
            return Ok(output);
        }
        Layers::Wanted(record) => {
            let brought = bring(session, op, record, &Inputs { outputs });
            let brought = brought.inspect_err(|error| step.ended_by(error))?;
            let same = brought.filter(|brought| brought.chain == settled.output.chain);
            let Some(output) = same else {
                // What others were found by is gone: all is looked up anew.
                session.imports.give_up(&record.key());
                session.shared.lost.store(true, Ordering::SeqCst);
                step.failed("its layers could not be had".into());
                return Err(Error::Cancelled);
            };
            output
        }
    };
    Ok(hit(session, &step, of_step(output)))
}

/// Keeps what a cache has of operations whose layers have come with those of others.
pub(crate) fn keep(session: &Session<'_>) -> Result<(), Error> {
    let failed = |e: store::Error| Error::Store { attempt: "find cached layers", source: e.into() };
    for (node, settled) in &session.settled {
        let (Layers::Left(Some(record)), Some(chain)) = (&settled.layers, &settled.output.chain) else {
            continue;
        };
        let op = &session.graph.ops[node - session.graph.images.len()];
        if !op.is_linked() && session.env.store.layer(chain).map_err(failed)?.is_some() {
            lookup(session, op, record)?;
        }
    }
    Ok(())
}

/// What a cache has under this record, with its layers.
fn bring(session: &Session<'_>, op: &Op, record: &Record, inputs: &Inputs) -> Result<Option<Output>, Error> {
    if session.stopped() {
        return Err(Error::Cancelled);
    }
    let Some(output) = lookup(session, op, record)? else { return Ok(None) };
    match op.is_linked() {
        true => place(session, output, inputs.chain(session, op, &op.base)).map(|(placed, _)| Some(placed)),
        false => Ok(Some(output)),
    }
}

/// What stays the same between two runs of what a person calls the same step.
pub(crate) fn scope(op: &Op) -> String {
    format!("{} {} {}", op.platform, op.stage, op.instruction)
}

fn attempt(session: &Session<'_>, op: &Op, inputs: &Inputs, step: &Step<'_, '_>) -> Result<Output, Error> {
    if session.stopped() {
        return Err(Error::Cancelled);
    }
    let below = inputs.chain(session, op, &op.base);
    if !op.is_linked() {
        return attempt_on(session, op, inputs, below, step);
    }
    let output = attempt_on(session, op, inputs, None, step)?;
    exec::check_depth(session, op, below.as_ref())?;
    let (output, is_new) = place(session, output, below)?;
    if is_new && step.was_cached() {
        step.noted("put on another base without copying");
    }
    Ok(output)
}

/// Puts a layer that was made on nothing on what is below; whether it has never been there.
pub(crate) fn place(
    session: &Session<'_>,
    output: Output,
    below: Option<ChainId>,
) -> Result<(Output, bool), Error> {
    let Some(chain) = &output.chain else { return Ok((Output { chain: below, ..output }, false)) };
    let failed =
        |e: store::Error| Error::Store { attempt: "put the layer on what is below", source: e.into() };
    let layer =
        session.env.store.layer(chain).and_then(|layer| layer.ok_or(store::Error::NoLayer(chain.clone())));
    let layer = layer.map_err(failed)?;
    let placed = ChainId::on(below.as_ref(), &layer.diff_id);
    let is_here = session.env.store.layer(&placed).map_err(failed)?.is_some();
    session.env.store.rebase(session.lease, &layer, below.as_ref()).map_err(failed)?;
    Ok((Output { chain: Some(placed), ..output }, !is_here))
}

/// The operation on this layer stack.
fn attempt_on(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    parent: Option<ChainId>,
    step: &Step<'_, '_>,
) -> Result<Output, Error> {
    // The layer stacks that it reads are a key that costs nothing; their content is the key that says more.
    let mut prepared = exec::Prepared::default();
    if let OpKind::Copy(copy) = &op.kind {
        prepared.owner = exec::owner(session, op, copy, inputs.chain(session, op, &op.base).as_ref())?;
    }
    let quick = quick(session, op, inputs, parent.as_ref(), prepared.owner)?;
    if let Some(record) = &quick
        && let Some(output) = lookup(session, op, record)?
    {
        return Ok(hit(session, step, output));
    }
    exec::select(session, op, inputs, &mut prepared)?;
    if let OpKind::Copy(copy) = &op.kind
        && exec::is_local(copy)
        && is_new(session, op, parent.as_ref())?
    {
        let shape = Record::new(op, parent.as_ref(), BTreeMap::new()).shape();
        let turn = Turn::take(session, op, &shape, step)?;
        if !turn.waited || is_new(session, op, parent.as_ref())? {
            let miss = inputs.is_on_new(op);
            return afresh(session, op, copy, (parent.as_ref(), miss), prepared, step);
        }
    }
    let mut read = exec::read(session, op, inputs, &mut prepared)?;
    read.extend(settings(session, op, prepared.owner));
    let record = Record::new(op, parent.as_ref(), read);
    if let Some(output) = lookup(session, op, &record)? {
        if let Some(quick) = &quick {
            remember(session, quick, &explain::noted(session, op, &record), &scope(op), &output)?;
        }
        return Ok(hit(session, step, output));
    }
    let records = (&record, quick.as_ref());
    let (output, made_here) = session
        .shared
        .once
        .get(record.key(), || make(session, op, inputs, parent.as_ref(), prepared, records, step))?;
    Ok(if made_here { output } else { hit(session, step, output) })
}

/// Makes what this record says, unless another build does; it is remembered by the second one too.
fn make(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    parent: Option<&ChainId>,
    mut prepared: exec::Prepared,
    (record, quick): (&Record, Option<&Record>),
    step: &Step<'_, '_>,
) -> Result<Output, Error> {
    let turn = Turn::take(session, op, &record.key(), step)?;
    if turn.waited
        && let Some(output) = lookup(session, op, record)?
    {
        return Ok(hit(session, step, output));
    }
    let on_new = inputs.is_on_new(op);
    let miss = Miss { session, op, record, prepared: Some(&prepared), on_new };
    step.missed(miss.reasons()?);
    prepared.others = Some(turn.others());
    let made = exec::run(session, op, inputs, parent, &mut prepared, step)?;
    session.ran.fetch_add(1, Ordering::Relaxed);
    let mounts = std::mem::take(&mut prepared.kept);
    let layer = made.as_ref() != parent;
    let output = Output { layer, made: true, chain: made, created: now(session), mounts, steps: Vec::new() };
    if !prepared.unsteady {
        let (noted, scope) = (explain::noted(session, op, record), scope(op));
        for record in quick.into_iter().chain([record]) {
            remember(session, record, &noted, &scope, &output)?;
        }
    }
    step.made(output.chain.as_ref());
    Ok(output)
}

/// Whether no record has the shape of this operation, so that there is none of it whatever it reads; nor is one wanted.
pub(crate) fn is_new(session: &Session<'_>, op: &Op, parent: Option<&ChainId>) -> Result<bool, Error> {
    let shape = Record::new(op, parent, BTreeMap::new()).shape();
    Ok(op.no_cache
        || session.imports.is_empty() && !session.env.db.read(|tx| cache::has_shape(tx, &shape))?)
}

/// A copy that has to be made in any case: what it reads is digested meanwhile.
fn afresh(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    (parent, on_new): (Option<&ChainId>, bool),
    mut prepared: exec::Prepared,
    step: &Step<'_, '_>,
) -> Result<Output, Error> {
    let scope = scope(op);
    // Identical copies of a build, known by all but their content, which is the same while it lasts.
    let shape = Record::new(op, parent, settings(session, op, None));
    let once = Digest::sha256(format!("{} {:?} {}", shape.text(), copy.from, scope).as_bytes());
    let (output, made_here) = session.shared.once.get(once, || {
        let miss = Miss { session, op, record: &shape, prepared: None, on_new };
        step.missed(miss.reasons()?);
        exec::check_depth(session, op, parent)?;
        let made = exec::run_copy(session, op, copy, parent, &mut prepared)?;
        // Most of it was digested as it was copied.
        let mut read = exec::read_copy(session, op, copy, &mut prepared)?;
        session.ran.fetch_add(1, Ordering::Relaxed);
        let (layer, created) = (made.as_ref() != parent, now(session));
        let output = Output { layer, made: true, chain: made, created, ..Output::default() };
        if !prepared.unsteady {
            read.extend(settings(session, op, None));
            let record = Record::new(op, parent, read);
            remember(session, &record, &explain::noted(session, op, &record), &scope, &output)?;
        }
        step.made(output.chain.as_ref());
        Ok::<_, Error>(output)
    })?;
    Ok(if made_here { output } else { hit(session, step, output) })
}

fn hit(session: &Session<'_>, step: &Step<'_, '_>, output: Output) -> Output {
    session.cached.fetch_add(1, Ordering::Relaxed);
    step.cached(output.chain.as_ref());
    output
}

/// The record with layer stacks in place of the content read from them; none if no such content is read, or more than can be
/// said without fetching it.
pub(crate) fn quick(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    parent: Option<&ChainId>,
    owner: Option<(u32, u32)>,
) -> Result<Option<Record>, Error> {
    let layers = match &op.kind {
        OpKind::Copy(copy) => copied_layers(session, op, copy, inputs),
        OpKind::Run(run) => exec::mounted_layers(session, op, run, inputs)?,
        OpKind::Mkdir(_) | OpKind::Change(_) | OpKind::Stack(_) => None,
    };
    Ok(layers.map(|mut read| {
        read.extend(settings(session, op, owner));
        Record::new(op, parent, read)
    }))
}

fn copied_layers(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    inputs: &Inputs,
) -> Option<BTreeMap<String, String>> {
    let Origin::Fs(fs) = &copy.from else { return None };
    if copy.sources.iter().any(|s| matches!(s, CopySource::Url { .. })) {
        return None;
    }
    let chain = inputs.chain(session, op, fs).map_or_else(|| "scratch".to_string(), |c| c.to_string());
    Some(BTreeMap::from([("layers".to_string(), chain)]))
}

/// Settings of the build, and numbers that names stand for, that change what the operation gives.
pub(crate) fn settings(
    session: &Session<'_>,
    op: &Op,
    owner: Option<(u32, u32)>,
) -> BTreeMap<String, String> {
    let request = session.request;
    let mut settings = BTreeMap::new();
    if let Some((user, group)) = owner {
        settings.insert("numbers of the owner".to_string(), format!("{user}:{group}"));
    }
    if let Some(seconds) = session.latest() {
        settings.insert("times up to".to_string(), seconds.to_string());
    }
    if let OpKind::Run(run) = &op.kind {
        if !request.extra_hosts.is_empty() {
            settings.insert("hosts".to_string(), format!("{:?}", request.extra_hosts));
        }
        if run.network.is_none() && request.network != NetMode::Bridge {
            settings.insert("network".to_string(), format!("{:?}", request.network));
        }
    }
    settings
}

/// The result of an earlier run, if its layers are here or can be brought.
fn lookup(session: &Session<'_>, op: &Op, record: &Record) -> Result<Option<Output>, Error> {
    if op.no_cache {
        return Ok(None);
    }
    if let Some(output) = lookup_here(session, op, record)? {
        return Ok(Some(output));
    }
    match imported(session, op, record) {
        Some(entry) => usable(session, op, record, entry),
        None => Ok(None),
    }
}

/// The result of an earlier run, if its layers are still here.
pub(crate) fn lookup_here(session: &Session<'_>, op: &Op, record: &Record) -> Result<Option<Output>, Error> {
    let key = record.key();
    match session.env.db.read(|tx| cache::get(tx, &key))?.filter(|_| !op.no_cache) {
        Some(entry) => usable(session, op, record, entry),
        None => Ok(None),
    }
}

/// What an imported cache has of this record. What cannot be had is told, and made here.
fn imported(session: &Session<'_>, op: &Op, record: &Record) -> Option<cache::Entry> {
    let told = || Told { scope: scope(op), record: explain::noted(session, op, record).text() };
    session.imports.find(session.env, session.lease, &record.key(), told).unwrap_or_else(|error| {
        let step = session.progress.step(&format!("importing cache of {}", op.name), "", "");
        step.log(Stream::Stderr, format!("not imported: {}\n", chain(&*error)));
        step.done();
        None
    })
}

/// What a record gave, if its layers are here.
fn usable(
    session: &Session<'_>,
    op: &Op,
    record: &Record,
    entry: cache::Entry,
) -> Result<Option<Output>, Error> {
    if let Some(chain) = &entry.chain {
        let store = |e: store::Error| Error::Store { attempt: "find cached layers", source: e.into() };
        if session.env.store.use_layer(session.lease, chain).map_err(store)?.is_none()
            || session.layer_dirs(Some(chain)).is_err()
        {
            return Ok(None);
        }
    }
    session.env.db.write_fleeting(|tx| cache::touch(tx, &entry.key, &timestamp()))?;
    session.note(&entry.key);
    let layer = entry.chain != record.parent().cloned();
    let Some(mounts) = stack::known(session, op, &entry.key)? else { return Ok(None) };
    Ok(Some(Output {
        chain: entry.chain,
        layer,
        made: false,
        created: entry.created,
        mounts,
        steps: Vec::new(),
    }))
}

/// Keeps what a record gave. Also where it stands for layers in place of content, what is told of it is the content.
fn remember(
    session: &Session<'_>,
    record: &Record,
    noted: &Noted,
    scope: &str,
    output: &Output,
) -> Result<(), Error> {
    session.note(&record.key());
    if session.isolated {
        return Ok(());
    }
    let entry = cache::Entry {
        key: record.key(),
        chain: output.chain.clone(),
        scope: scope.to_string(),
        record: noted.text(),
        created: output.created.clone(),
        used: timestamp(),
        uses: 0,
    };
    // A record that a power failure takes away costs one run of the step.
    let shape = record.shape();
    Ok(session.env.db.write_fleeting(|tx| {
        cache::put(tx, &entry)?;
        stack::remember(tx, &entry, &output.mounts)?;
        cache::put_shape(tx, &shape, &entry.key)
    })?)
}

/// The time that is written for what this build makes.
pub(crate) fn now(session: &Session<'_>) -> String {
    match session.epoch.documented {
        Some(seconds) => epoch(seconds),
        None => timestamp(),
    }
}

pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().to_string()
}

/// Seconds since 1970 as RFC 3339; what is out of range is 1970.
pub(crate) fn epoch(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
