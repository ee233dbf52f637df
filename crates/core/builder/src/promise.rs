//! Which nodes are known before anything is made, though their layers are elsewhere: of base images in their registries, of
//! caches from elsewhere, or nowhere any more.
//!
//! What a node gave suffices for the keys of the steps on it; so before anything is made, the graph is gone through once and
//! nothing but looked up. The layers come when something that is made, or wanted of the build, needs them. Of a step a cache may
//! know which layers it gave without having these ([`Promise`]): it is made if they are needed, and with it everything is looked
//! up anew that was looked up by what it was promised to give: a result is never made of two runs of one step.

mod left;

pub(crate) use left::Left;

use crate::error::Error;
use crate::exec::{self, Prepared};
use crate::graph::{Copy, Fs, Op, OpKind};
use crate::key::Record;
use crate::session::{Output, Session};
use crate::step::{self, Inputs};
use crate::transfer::Promise;
use crate::{solve, stack};
use oci::ChainId;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// A node of which all is known.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    /// What it gives.
    pub output: Output,
    /// Where its layers are.
    pub layers: Layers,
    /// What can be told of a step whose layers are left elsewhere.
    pub promise: Option<Promise>,
}

/// Where the layers of a node are of which all is known.
#[derive(Debug, Clone)]
pub(crate) enum Layers {
    /// Here.
    Here,
    /// Elsewhere, and nobody needs them by themselves; a cache may have them under this record.
    Left(Option<Box<Record>>),
    /// A cache has them under this record, and they are needed.
    Wanted(Box<Record>),
}

/// What can be said of a node before anything is made.
#[derive(Debug, Clone)]
enum Guess {
    /// Nothing.
    Unknown,
    /// Its layers are here.
    Here(Output),
    /// Its layers are elsewhere.
    Elsewhere(Output, Source),
}

/// Whence layers can be had that are elsewhere.
#[derive(Debug, Clone)]
enum Source {
    /// An image's registry.
    Registry,
    /// The cache that has this record. The promise is what is told of it if they are left there.
    Cache(Box<Record>, Promise),
    /// Nowhere. What is put on such has a promise of its own or none.
    Nowhere(Option<Promise>),
}

impl Guess {
    fn output(&self) -> Option<&Output> {
        match self {
            Guess::Unknown => None,
            Guess::Here(output) | Guess::Elsewhere(output, _) => Some(output),
        }
    }

    fn is_elsewhere(&self) -> bool {
        matches!(self, Guess::Elsewhere(..))
    }

    /// Its layers can be had no more.
    fn is_lost(&self) -> bool {
        matches!(self, Guess::Elsewhere(_, Source::Nowhere(_)))
    }

    /// What is to be known of it where nothing is made; `wanted` says that its layers are needed.
    fn settled(self, wanted: bool) -> Option<Settled> {
        let settled = |output, layers, promise| Some(Settled { output, layers, promise });
        match self {
            Guess::Unknown => None,
            Guess::Here(output) => settled(output, Layers::Here, None),
            Guess::Elsewhere(output, Source::Cache(record, _)) if wanted => {
                settled(output, Layers::Wanted(record), None)
            }
            // It is fetched as a node of its own.
            Guess::Elsewhere(_, Source::Registry) if wanted => None,
            Guess::Elsewhere(output, Source::Registry) => settled(output, Layers::Left(None), None),
            Guess::Elsewhere(output, Source::Cache(record, promise)) => {
                settled(output, Layers::Left(Some(record)), Some(promise))
            }
            Guess::Elsewhere(output, Source::Nowhere(promise)) => {
                settled(output, Layers::Left(None), promise)
            }
        }
    }
}

/// The nodes whose layers are elsewhere, and those that were found by what these give. What all others need is here or made.
/// With them the layers of the result, if they are left there.
pub(crate) fn settle(session: &Session<'_>) -> (BTreeMap<usize, Settled>, Option<Left>) {
    let is_all_here = session.images.iter().all(|image| image.layers.is_none());
    if is_all_here && !session.imports.has_any() {
        return (BTreeMap::new(), None);
    }
    let graph = session.graph;
    let mut needs = vec![Vec::new(); graph.images.len()];
    needs.extend(graph.ops.iter().map(|op| step::needs(session, op)));
    let look = |node: usize, inputs: Vec<Guess>| Ok::<_, Infallible>(guess(session, node, &inputs));
    let Ok(mut guesses) = solve::solve(&needs, solve::workers(session.env.workers), &|| {}, &look);
    let mut below = vec![None; graph.images.len()];
    below.extend(graph.ops.iter().map(|op| below_of(session, op)));
    let result = session.node(&graph.result);
    let left = result.and_then(|node| left::left(session, &guesses, node));
    let wanted = hold(&needs, &below, &ends(session, &guesses, left.is_some()), &mut guesses);
    // Where what it was found by can be had no more it is made.
    let left = left.filter(|_| result.is_some_and(|node| guesses[node].is_elsewhere()));
    let by_others: Vec<bool> =
        needs.iter().map(|needs| needs.iter().any(|need| guesses[*need].is_elsewhere())).collect();
    let nodes = guesses.into_iter().enumerate();
    let known = nodes.filter(|(node, guess)| guess.is_elsewhere() || by_others[*node]);
    let settled = known.filter_map(|(node, guess)| Some((node, guess.settled(wanted.contains(&node))?)));
    (settled.collect(), left)
}

/// The nodes whose layers are wanted, whatever is made: the result's, but for the cache alone or if they are `left` where they
/// are, and of a cache that goes on with all that it has what is in it.
fn ends(session: &Session<'_>, guesses: &[Guess], left: bool) -> BTreeSet<usize> {
    let (graph, request, targets) = (session.graph, session.request, &session.env.cache_to);
    let mut ends = BTreeSet::new();
    if !left && (request.wants_image() || request.export.inline_cache || !targets.is_empty()) {
        let scanned = graph.scan.more.iter().map(|(_, fs)| fs);
        let scan = graph.scan.op.map(Fs::Op);
        ends.extend(scanned.chain(&scan).chain([&graph.result]).filter_map(|fs| session.node(fs)));
    }
    if targets.iter().any(|target| target.max) {
        let cached = |guess: &Guess| matches!(guess, Guess::Elsewhere(_, Source::Cache(..)));
        ends.extend((0..guesses.len()).filter(|node| cached(&guesses[*node])));
    }
    ends
}

/// What has to be here before the layers of an operation can be brought: what they are put on, or the image below them all.
fn below_of(session: &Session<'_>, op: &Op) -> Option<usize> {
    let mut base = &op.base;
    while let (Fs::Op(below), false) = (base, op.is_linked()) {
        base = &session.graph.ops[*below].base;
    }
    session.node(base)
}

/// Finds out whose layers are needed. Gives up what can be had no more of these, and all that was found by that.
fn hold(
    needs: &[Vec<usize>],
    below: &[Option<usize>],
    ends: &BTreeSet<usize>,
    guesses: &mut [Guess],
) -> BTreeSet<usize> {
    loop {
        let unknown = (0..guesses.len()).filter(|node| matches!(guesses[*node], Guess::Unknown));
        let mut next: Vec<usize> = unknown.chain(ends.iter().copied()).collect();
        let mut wanted = BTreeSet::new();
        while let Some(node) = next.pop() {
            if wanted.insert(node) {
                match guesses[node] {
                    Guess::Unknown => next.extend(&needs[node]),
                    _ => next.extend(below[node]),
                }
            }
        }
        let mut lost: BTreeSet<usize> =
            wanted.iter().copied().filter(|node| guesses[*node].is_lost()).collect();
        if lost.is_empty() {
            return wanted;
        }
        // What a node needs comes before it.
        for (node, needs) in needs.iter().enumerate() {
            if needs.iter().any(|need| lost.contains(need)) {
                lost.insert(node);
            }
        }
        lost.into_iter().for_each(|node| guesses[node] = Guess::Unknown);
    }
}

fn guess(session: &Session<'_>, node: usize, inputs: &[Guess]) -> Guess {
    let Some(index) = node.checked_sub(session.graph.images.len()) else {
        let image = &session.images[node];
        let output = step::image_output(image);
        return match image.layers {
            Some(_) => Guess::Elsewhere(output, Source::Registry),
            None => Guess::Here(output),
        };
    };
    let op = &session.graph.ops[index];
    let outputs: Option<Vec<Output>> = inputs.iter().map(|input| input.output().cloned()).collect();
    let (Some(outputs), false) = (outputs, op.no_cache || session.stopped()) else { return Guess::Unknown };
    if matches!(op.kind, OpKind::Stack(_)) {
        return Guess::Unknown;
    }
    let _place = session.env.gate.as_ref().map(|gate| gate.enter());
    // It is the first of what is needed.
    let base = inputs.first().filter(|_| op.base != Fs::Scratch);
    // What goes wrong is told when the step is made.
    look(session, op, &Inputs { outputs }, base).unwrap_or(Guess::Unknown)
}

fn look(session: &Session<'_>, op: &Op, inputs: &Inputs, base: Option<&Guess>) -> Result<Guess, Error> {
    let below = inputs.chain(session, op, &op.base);
    if !op.is_linked() {
        return Ok(look_on(session, op, inputs, below.as_ref())?.map_or(Guess::Unknown, |(guess, _)| guess));
    }
    let Some((guess, record)) = look_on(session, op, inputs, None)? else { return Ok(Guess::Unknown) };
    let is_elsewhere = base.is_some_and(Guess::is_elsewhere);
    let (output, source) = match guess {
        Guess::Here(output) if !is_elsewhere => {
            return Ok(Guess::Here(step::place(session, output, below)?.0));
        }
        Guess::Here(output) => {
            let (key, created) = (record.key(), output.created.clone());
            let promise = output.chain.clone().map(|chain| Promise { key, chain, created });
            let source =
                promise.map_or(Source::Nowhere(None), |promise| Source::Cache(Box::new(record), promise));
            (output, source)
        }
        Guess::Elsewhere(output, source) => (output, source),
        Guess::Unknown => return Ok(Guess::Unknown),
    };
    let source = match source {
        // There is nothing to put them on.
        Source::Cache(_, promise) if base.is_some_and(Guess::is_lost) => Source::Nowhere(Some(promise)),
        source => source,
    };
    Ok(Guess::Elsewhere(placed(output, below), source))
}

/// What a layer that was made on nothing is called on what is below: alone, its stack is called as it is itself.
fn placed(output: Output, below: Option<ChainId>) -> Output {
    let chain = match &output.chain {
        Some(own) => Some(ChainId::on(below.as_ref(), &own.0)),
        None => below,
    };
    Output { chain, ..output }
}

/// The operation on this layer stack, as [`step`] looks it up, and by which record it was found.
fn look_on(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    parent: Option<&ChainId>,
) -> Result<Option<(Guess, Record)>, Error> {
    let mut prepared = Prepared::default();
    if let OpKind::Copy(copy) = &op.kind {
        prepared.owner = exec::owner(session, op, copy, inputs.chain(session, op, &op.base).as_ref())?;
    }
    if let Some(record) = step::quick(session, op, inputs, parent, prepared.owner)? {
        let guess = of(session, op, &record)?;
        if guess.output().is_some() {
            return Ok(Some((guess, record)));
        }
    }
    if is_to_be_made(session, op, parent)? {
        return Ok(None);
    }
    exec::select(session, op, inputs, &mut prepared)?;
    let mut read = exec::read(session, op, inputs, &mut prepared)?;
    read.extend(step::settings(session, op, prepared.owner));
    let record = Record::new(op, parent, read);
    Ok(Some((of(session, op, &record)?, record)))
}

/// Whether it is a copy of which nothing is known whatever it reads: it is read once, when it is made.
fn is_to_be_made(session: &Session<'_>, op: &Op, parent: Option<&ChainId>) -> Result<bool, Error> {
    let is_local = |copy: &Copy| exec::is_local(copy);
    Ok(matches!(&op.kind, OpKind::Copy(copy) if is_local(copy)) && step::is_new(session, op, parent)?)
}

fn of(session: &Session<'_>, op: &Op, record: &Record) -> Result<Guess, Error> {
    if let Some(output) = step::lookup_here(session, op, record)? {
        return Ok(Guess::Here(output));
    }
    // Nothing is known of what is left in mounts.
    if stack::kept(op) > 0 {
        return Ok(Guess::Unknown);
    }
    let key = record.key();
    let (promise, is_there) = match (session.imports.offer(&key), session.imports.promise(&key)) {
        (Some(offer), _) => (offer, true),
        (None, Some(promise)) => (promise.clone(), false),
        (None, None) => return Ok(Guess::Unknown),
    };
    let (chain, created) = (Some(promise.chain.clone()), promise.created.clone());
    let layer = chain.as_ref() != record.parent();
    let source = match is_there {
        true => Source::Cache(Box::new(record.clone()), promise),
        false => Source::Nowhere(Some(promise)),
    };
    Ok(Guess::Elsewhere(Output { chain, layer, created, ..Output::default() }, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Digest;

    fn output() -> Output {
        Output::default()
    }

    fn here() -> Guess {
        Guess::Here(output())
    }

    fn promise() -> Promise {
        let digest = Digest::sha256(b"x");
        Promise { key: digest.clone(), chain: ChainId(digest), created: String::new() }
    }

    fn promised() -> Guess {
        Guess::Elsewhere(output(), Source::Nowhere(Some(promise())))
    }

    /// In an image's registry: what stands for a cache's as well, which is told by its place.
    fn far() -> Guess {
        Guess::Elsewhere(output(), Source::Registry)
    }

    /// What became of guesses where the last one is wanted; what is needed of what is far is written `F`.
    fn held(needs: &[&[usize]], guesses: Vec<Guess>) -> String {
        held_for(needs, guesses, &[needs.len() - 1])
    }

    fn held_for(needs: &[&[usize]], mut guesses: Vec<Guess>, ends: &[usize]) -> String {
        let needs: Vec<Vec<usize>> = needs.iter().map(|needs| needs.to_vec()).collect();
        // The first of what is needed is what is below.
        let mut below: Vec<Option<usize>> = Vec::new();
        for needs in &needs {
            below.push(needs.first().map(|first| below[*first].unwrap_or(*first)));
        }
        let wanted = hold(&needs, &below, &ends.iter().copied().collect(), &mut guesses);
        let letter = |(node, guess): (usize, &Guess)| match guess {
            Guess::Unknown => '?',
            Guess::Here(_) => 'h',
            Guess::Elsewhere(_, Source::Nowhere(_)) => 'p',
            Guess::Elsewhere(..) if wanted.contains(&node) => 'F',
            Guess::Elsewhere(..) => 'f',
        };
        guesses.iter().enumerate().map(letter).collect()
    }

    #[test]
    fn layers_come_when_something_needs_them() {
        // Two images, two steps of a stage on the first, a copy of it onto the second.
        let needs: &[&[usize]] = &[&[], &[], &[0], &[2], &[1, 3]];
        assert_eq!(held(needs, vec![far(), far(), far(), far(), far()]), "fFffF");
        assert_eq!(held_for(needs, vec![far(), far(), far(), far(), far()], &[]), "fffff");
        // The copy is made.
        assert_eq!(held_for(needs, vec![far(), far(), far(), far(), Guess::Unknown], &[]), "FFfF?");
        // So is the stage's second step, and the copy with it.
        assert_eq!(held(needs, vec![far(), far(), far(), Guess::Unknown, Guess::Unknown]), "FFF??");
        // What an image's step gave is here, and of the image there may be more to fetch.
        assert_eq!(held(needs, vec![far(), far(), here(), here(), here()]), "fFhhh");
        // What nobody has any more is made on what there is.
        assert_eq!(held(needs, vec![far(), far(), far(), promised(), promised()]), "FFF??");
        assert_eq!(held(needs, vec![far(), far(), promised(), promised(), far()]), "fFppF");
    }

    #[test]
    fn promises_hold_while_nobody_needs_the_layers() {
        // An image, two steps of a stage, a copy of it onto the image.
        let needs: &[&[usize]] = &[&[], &[0], &[1], &[0, 2]];
        assert_eq!(held(needs, vec![here(), promised(), promised(), here()]), "hpph");
        // The result itself is needed.
        assert_eq!(held(needs, vec![here(), promised(), promised(), promised()]), "h???");
        // The second step is made, on what the first gives now.
        assert_eq!(held(needs, vec![here(), promised(), Guess::Unknown, Guess::Unknown]), "h???");
        // A step after the copy is made on the copy's layers, which are here.
        let needs: &[&[usize]] = &[&[], &[0], &[1], &[0, 2], &[3]];
        let guesses = vec![here(), promised(), promised(), here(), Guess::Unknown];
        assert_eq!(held(needs, guesses), "hpph?");
    }

    #[test]
    fn what_was_found_by_a_broken_promise_is_looked_up_anew() {
        // A stage that two stages read, of which one is made: the other's hit is of another run of the stage.
        let needs: &[&[usize]] = &[&[], &[0], &[0, 1], &[0, 1], &[2, 3]];
        let guesses = vec![here(), promised(), here(), Guess::Unknown, Guess::Unknown];
        assert_eq!(held(needs, guesses), "h????");
        // And what that one reads besides has to be there too.
        let needs: &[&[usize]] = &[&[], &[0], &[0], &[1, 2], &[1], &[3, 4]];
        let guesses = vec![here(), promised(), promised(), here(), Guess::Unknown, Guess::Unknown];
        assert_eq!(held(needs, guesses), "h?????");
    }
}
