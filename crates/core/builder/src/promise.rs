//! Which nodes need not be looked at, because a cache from elsewhere says what they gave.
//!
//! Such a cache may know of a step which layers it gave without having these ([`Promise`]). That suffices for the keys of the
//! steps on it; so before anything is made, the graph is gone through once and nothing but looked up. What turns out to be
//! needed itself is made, and with it everything is looked up anew that was looked up by what it was promised to give:
//! a result is never made of two runs of one step.

use crate::error::Error;
use crate::exec::{self, Prepared};
use crate::graph::{Fs, Op, OpKind};
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
    /// Whether its layers are here.
    pub layers: bool,
    /// Where it is known from, if it is by a promise.
    pub promise: Option<Promise>,
}

/// What can be said of a node before anything is made.
#[derive(Debug, Clone)]
enum Guess {
    /// Nothing.
    Unknown,
    /// Its layers are here.
    Here(Output),
    /// Its layers are not here. What is put on such has a promise of its own or none.
    Promised(Output, Option<Promise>),
}

impl Guess {
    fn output(&self) -> Option<&Output> {
        match self {
            Guess::Unknown => None,
            Guess::Here(output) | Guess::Promised(output, _) => Some(output),
        }
    }

    fn is_promised(&self) -> bool {
        matches!(self, Guess::Promised(..))
    }
}

/// The nodes that are promised, and those that were found by what these are to give. What all others need is here or made.
pub(crate) fn settle(session: &Session<'_>) -> BTreeMap<usize, Settled> {
    if !session.imports.has_promises() {
        return BTreeMap::new();
    }
    let graph = session.graph;
    let mut needs = vec![Vec::new(); graph.images.len()];
    needs.extend(graph.ops.iter().map(|op| step::needs(session, op)));
    let look = |node: usize, inputs: Vec<Guess>| Ok::<_, Infallible>(guess(session, node, &inputs));
    let Ok(mut guesses) = solve::solve(&needs, solve::workers(session.env.workers), &|| {}, &look);
    let scanned = graph.scan.more.iter().map(|(_, fs)| fs);
    let scan = graph.scan.op.map(Fs::Op);
    let results = scanned.chain(&scan).chain([&graph.result]).filter_map(|fs| session.node(fs)).collect();
    hold(&needs, &results, &mut guesses);
    let on_promise = |node: usize| needs[node].iter().any(|need| guesses[*need].is_promised());
    let settled = |(node, guess): (usize, &Guess)| match guess {
        Guess::Promised(output, promise) => {
            let promise = promise.clone();
            Some((node, Settled { output: output.clone(), layers: false, promise }))
        }
        Guess::Here(output) if on_promise(node) => {
            Some((node, Settled { output: output.clone(), layers: true, promise: None }))
        }
        Guess::Here(_) | Guess::Unknown => None,
    };
    guesses.iter().enumerate().filter_map(settled).collect()
}

/// Gives up promises whose layers are needed, and all that was found by them.
fn hold(needs: &[Vec<usize>], results: &BTreeSet<usize>, guesses: &mut [Guess]) {
    loop {
        let unknown = guesses.iter().zip(needs).filter(|(guess, _)| matches!(guess, Guess::Unknown));
        let wanted = unknown.flat_map(|(_, needs)| needs).chain(results);
        let mut lost: BTreeSet<usize> = wanted.copied().filter(|node| guesses[*node].is_promised()).collect();
        if lost.is_empty() {
            return;
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
        let chain = ChainId::of(&session.images[node].config.rootfs.diff_ids);
        return Guess::Here(Output { chain, ..Output::default() });
    };
    let op = &session.graph.ops[index];
    let outputs: Option<Vec<Output>> = inputs.iter().map(|input| input.output().cloned()).collect();
    let (Some(outputs), false) = (outputs, op.no_cache || session.stopped()) else { return Guess::Unknown };
    if matches!(op.kind, OpKind::Stack(_)) {
        return Guess::Unknown;
    }
    let _place = session.env.gate.as_ref().map(|gate| gate.enter());
    // It is the first of what is needed.
    let on_promise = op.base != Fs::Scratch && inputs.first().is_some_and(Guess::is_promised);
    // What goes wrong is told when the step is made.
    look(session, op, &Inputs { outputs }, on_promise).unwrap_or(Guess::Unknown)
}

fn look(session: &Session<'_>, op: &Op, inputs: &Inputs, on_promise: bool) -> Result<Guess, Error> {
    let below = inputs.chain(session, op, &op.base);
    if !op.is_linked() {
        return look_on(session, op, inputs, below.as_ref());
    }
    Ok(match look_on(session, op, inputs, None)? {
        Guess::Here(output) if !on_promise => Guess::Here(step::place(session, output, below)?.0),
        Guess::Here(output) => Guess::Promised(placed(output, below), None),
        Guess::Promised(output, promise) => Guess::Promised(placed(output, below), promise),
        Guess::Unknown => Guess::Unknown,
    })
}

/// What a layer that was made on nothing is called on what is below: alone, its stack is called as it is itself.
fn placed(output: Output, below: Option<ChainId>) -> Output {
    let chain = match &output.chain {
        Some(own) => Some(ChainId::on(below.as_ref(), &own.0)),
        None => below,
    };
    Output { chain, ..output }
}

/// The operation on this layer stack, as [`step`] looks it up.
fn look_on(
    session: &Session<'_>,
    op: &Op,
    inputs: &Inputs,
    parent: Option<&ChainId>,
) -> Result<Guess, Error> {
    let mut prepared = Prepared::default();
    if let OpKind::Copy(copy) = &op.kind {
        prepared.owner = exec::owner(session, op, copy, inputs.chain(session, op, &op.base).as_ref())?;
    }
    if let Some(record) = step::quick(session, op, inputs, parent, prepared.owner)? {
        let guess = of(session, op, &record)?;
        if guess.output().is_some() {
            return Ok(guess);
        }
    }
    exec::select(session, op, inputs, &mut prepared)?;
    let mut read = exec::read(session, op, inputs, &mut prepared)?;
    read.extend(step::settings(session, op, prepared.owner));
    of(session, op, &Record::new(op, parent, read))
}

fn of(session: &Session<'_>, op: &Op, record: &Record) -> Result<Guess, Error> {
    if let Some(output) = step::lookup(session, op, record)? {
        return Ok(Guess::Here(output));
    }
    // Nothing is promised of what is left in mounts.
    Ok(match session.imports.promise(&record.key()) {
        Some(promise) if stack::kept(op) == 0 => {
            let (chain, created) = (Some(promise.chain.clone()), promise.created.clone());
            let layer = chain.as_ref() != record.parent();
            Guess::Promised(Output { chain, layer, created, ..Output::default() }, Some(promise.clone()))
        }
        _ => Guess::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Digest;

    fn here() -> Guess {
        Guess::Here(Output::default())
    }

    fn promised() -> Guess {
        let digest = Digest::sha256(b"x");
        let promise = Promise { key: digest.clone(), chain: ChainId(digest), created: String::new() };
        Guess::Promised(Output::default(), Some(promise))
    }

    fn held(needs: &[&[usize]], mut guesses: Vec<Guess>) -> String {
        let needs: Vec<Vec<usize>> = needs.iter().map(|needs| needs.to_vec()).collect();
        hold(&needs, &BTreeSet::from([needs.len() - 1]), &mut guesses);
        let letter = |guess: &Guess| match guess {
            Guess::Unknown => '?',
            Guess::Here(_) => 'h',
            Guess::Promised(..) => 'p',
        };
        guesses.iter().map(letter).collect()
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
