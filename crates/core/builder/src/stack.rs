//! Layers put together anew: what a `RUN` left in a mount, several stacks on top of each other, what one stack adds to
//! another. No file is copied but where two stacks have nothing in common and are compared.

mod explicit;

use crate::error::Error;
use crate::files::copy::{Writer, carried_xattrs};
use crate::files::walk::{Item, Tree};
use crate::graph::{MountKind, Op, OpKind, Stack};
use crate::session::{Output, Session, io_error};
use crate::step::{file_error, scope, steps_of, timestamp};
use crate::transfer::Told;
use oci::{ChainId, Digest};
use rustix::fs::FileType;
use state::cache;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use store::Layer;
use sys::root::Root;

/// Puts the layers of what an operation needs together.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    stack: &Stack,
    outputs: Vec<Output>,
) -> Result<Output, Error> {
    if session.stopped() {
        return Err(Error::Cancelled);
    }
    // What is put together is as old as the youngest of its parts.
    let created = outputs.iter().map(|output| output.created.clone()).max().unwrap_or_default();
    let steps = steps_of(&outputs);
    let mut outputs = outputs.into_iter();
    // What is empty is no node, and so has no output.
    let base = (session.node(&op.base)).and_then(|_| outputs.next()).unwrap_or_default();
    let mut next = |fs| session.node(fs).and_then(|_| outputs.next()).and_then(|output| output.chain);
    let chain = match stack {
        Stack::Mount(number) => base.mounts.get(*number).cloned().flatten(),
        Stack::Merge(others) => {
            let others: Vec<_> = others.iter().filter_map(&mut next).collect();
            let parts = [base.chain.as_ref()].into_iter().chain(others.iter().map(Some));
            once(session, op, key("merge", parts), &created, || {
                let lay = |chain, other| on_top(session, op, chain, &layers(session, Some(other))?);
                others.iter().try_fold(base.chain.clone(), lay)
            })?
        }
        Stack::Diff(lower) => {
            let (upper, lower) = (base.chain.as_ref(), next(lower));
            let key = key("diff", [upper, lower.as_ref()]);
            once(session, op, key, &created, || diff(session, op, upper, lower.as_ref()))?
        }
    };
    Ok(Output { layer: true, made: base.made, chain, created, mounts: Vec::new(), steps })
}

/// What stands for stacks that are put together so: nothing else decides what comes of it.
fn key<'c>(how: &str, parts: impl IntoIterator<Item = Option<&'c ChainId>>) -> Digest {
    let parts = parts.into_iter().map(|part| part.map(ToString::to_string).unwrap_or_default());
    Digest::sha256(format!("stacks 2 {how} {}", parts.collect::<Vec<_>>().join(" ")).as_bytes())
}

/// What came of this key before, if its layers are here; else it is made, and remembered: to find out which of a layer's directories
/// are new ones all of its files are looked at.
fn once(
    session: &Session<'_>,
    op: &Op,
    key: Digest,
    created: &str,
    make: impl FnOnce() -> Result<Option<ChainId>, Error>,
) -> Result<Option<ChainId>, Error> {
    if let Some(entry) = session.env.db.read(|tx| cache::get(tx, &key))?
        && is_here(session, entry.chain.as_ref())?
    {
        session.env.db.write_fleeting(|tx| cache::touch(tx, &key, &timestamp()))?;
        return Ok(entry.chain);
    }
    let chain = make()?;
    if !session.isolated {
        let (scope, record, used) = (scope(op), String::new(), timestamp());
        let created = created.to_owned();
        let entry = cache::Entry { key, chain: chain.clone(), scope, record, created, used, uses: 0 };
        session.env.db.write_fleeting(|tx| cache::put(tx, &entry))?;
    }
    Ok(chain)
}

/// Whether all layers of a stack are here, where they stay as long as the build.
fn is_here(session: &Session<'_>, chain: Option<&ChainId>) -> Result<bool, Error> {
    let Some(chain) = chain else { return Ok(true) };
    let found = session.env.store.use_layer(session.lease, chain).map_err(failed("find layers"))?;
    Ok(found.is_some() && session.env.store.chain(Some(chain)).is_ok())
}

fn failed(attempt: &'static str) -> impl FnOnce(store::Error) -> Error {
    move |e| Error::Store { attempt, source: e.into() }
}

/// The layers of a stack, the lowest first.
fn layers(session: &Session<'_>, chain: Option<&ChainId>) -> Result<Vec<Layer>, Error> {
    let mut layers = session.env.store.chain(chain).map_err(failed("find layers"))?;
    layers.reverse();
    Ok(layers)
}

fn on_top(
    session: &Session<'_>,
    op: &Op,
    mut chain: Option<ChainId>,
    layers: &[Layer],
) -> Result<Option<ChainId>, Error> {
    for layer in layers {
        let store = &session.env.store;
        let is_at_home = layer.parent == chain;
        let explicit = if is_at_home { None } else { explicit::files(session, op, layer)? };
        let placed = match &explicit {
            Some((_held, files)) => store.layer_from_dir(session.lease, chain.as_ref(), files),
            None => store.rebase(session.lease, layer, chain.as_ref()),
        };
        chain = Some(placed.map_err(failed("put a layer on another"))?.chain_id);
    }
    Ok(chain)
}

/// What `upper` changes of `lower`, as layers on nothing.
fn diff(
    session: &Session<'_>,
    op: &Op,
    upper: Option<&ChainId>,
    lower: Option<&ChainId>,
) -> Result<Option<ChainId>, Error> {
    let (above, below) = (layers(session, upper)?, layers(session, lower)?);
    let is_below =
        above.len() >= below.len() && above.iter().zip(&below).all(|(a, b)| a.chain_id == b.chain_id);
    if is_below {
        return on_top(session, op, None, &above[below.len()..]);
    }
    compared(session, op, upper, lower).map(Some)
}

/// One layer with what differs between two trees.
fn compared(
    session: &Session<'_>,
    op: &Op,
    upper: Option<&ChainId>,
    lower: Option<&ChainId>,
) -> Result<ChainId, Error> {
    let scratch = session.scratch()?;
    let (empty, written) = (scratch.dir("empty")?, scratch.dir("written")?);
    let open = |path: &PathBuf| Root::open(path).map_err(io_error("open", path));
    let view = |chain| match session.view(chain)? {
        Some(root) => Ok(root),
        None => open(&empty),
    };
    let (above, below) = (view(upper)?, view(lower)?);
    let cancelled = || session.stopped();
    let tree = |root| Tree { root, ignore: None, is_context: false, cancelled: &cancelled };
    let fail = |e| file_error(session, op, e);
    let (from, old) = (tree(&above), tree(&below));
    let items = from.walk("".as_ref()).map_err(fail)?;
    let before: BTreeMap<PathBuf, Item> = old
        .walk("".as_ref())
        .map_err(fail)?
        .into_iter()
        .map(|item| (item.path.to_path_buf(), item))
        .collect();
    let root = open(&written)?;
    let mut writer = Writer::plain(&root);
    let gone = gone(&items, &before);
    let pair = Pair { now: &above, old: Some(&below), before: &before };
    // Before the directories that they are in get their times.
    for path in &gone {
        writer.make_dirs(path.parent().unwrap_or("".as_ref())).map_err(fail)?;
        root.mknod(path, FileType::CharacterDevice, 0, 0).map_err(io_error("note as removed", path))?;
    }
    writer.copy_exact(&from, &pair.changed(&items, &gone)).map_err(fail)?;
    let layer = session.env.store.layer_from_dir(session.lease, None, &written);
    layer.map(|layer| layer.chain_id).map_err(failed("make layer"))
}

/// The paths that are not there any more. What was below a directory that is gone is gone with it.
fn gone<'b>(items: &[Item], before: &'b BTreeMap<PathBuf, Item>) -> Vec<&'b Path> {
    let now: BTreeSet<&Path> = items.iter().map(|item| &*item.path).collect();
    let is_gone = |path: &Path| before.contains_key(path) && !now.contains(path);
    let paths = before.keys().map(PathBuf::as_path).filter(|path| is_gone(path));
    paths.filter(|path| !path.parent().is_some_and(is_gone)).collect()
}

/// A tree, and what there was at its paths before.
struct Pair<'p> {
    now: &'p Root,
    old: Option<&'p Root>,
    before: &'p BTreeMap<PathBuf, Item>,
}

impl Pair<'_> {
    /// The entries that are new or not as they were, and the directories on the way to these and to `others`: a layer says of all
    /// that it has whose they are.
    fn changed(&self, items: &[Item], others: &[&Path]) -> Vec<Item> {
        let new = items.iter().filter(|item| !self.is_same(item)).map(|item| &*item.path);
        let mut wanted: BTreeSet<&Path> = BTreeSet::new();
        for path in new.chain(others.iter().copied()) {
            // Whoever is wanted already came with those above.
            let _ = path.ancestors().take_while(|above| wanted.insert(above)).count();
        }
        items.iter().filter(|item| wanted.contains(&*item.path)).cloned().collect()
    }

    /// Whether an entry is as it was, as far as its description and its attributes say.
    fn is_same(&self, item: &Item) -> bool {
        let of = |item: &Item| {
            let stat = &item.stat;
            let size = if item.kind == FileType::RegularFile { stat.size } else { 0 };
            let time = (item.kind != FileType::Directory).then_some(stat.modified);
            (stat.mode, stat.uid, stat.gid, size, stat.rdev, time)
        };
        let attributes = |root| carried_xattrs(root, &item.path);
        self.before.get(&*item.path).is_some_and(|old| {
            of(item) == of(old)
                && item.target == old.target
                && attributes(self.now) == self.old.map(attributes).unwrap_or_default()
        })
    }
}

/// How many mounts of an operation are results.
pub(crate) fn kept(op: &Op) -> usize {
    match &op.kind {
        OpKind::Run(run) => run.mounts.iter().filter(|mount| mount.kind == MountKind::Kept).count(),
        _ => 0,
    }
}

/// The key under which the content of a mount is kept.
fn key_of_mount(key: &Digest, number: usize) -> Digest {
    Digest::sha256(format!("{key} mount {number}").as_bytes())
}

/// What an earlier run left in its mounts; nothing if it is not known of all.
pub(crate) fn known(
    session: &Session<'_>,
    op: &Op,
    key: &Digest,
) -> Result<Option<Vec<Option<ChainId>>>, Error> {
    let mut mounts = Vec::new();
    for number in 0..kept(op) {
        let key = key_of_mount(key, number);
        let mut entry = session.env.db.read(|tx| cache::get(tx, &key))?;
        if entry.is_none() {
            // What cannot be had from elsewhere is made here.
            let told = || Told { scope: scope(op), record: String::new() };
            entry = session.imports.find(session.env, session.lease, &key, told).unwrap_or_default();
        }
        let Some(entry) = entry else { return Ok(None) };
        if !is_here(session, entry.chain.as_ref())? {
            return Ok(None);
        }
        mounts.push(entry.chain);
    }
    Ok(Some(mounts))
}

/// The records of what a run left in its mounts, by the key of its own. What the step is stands there.
pub(crate) fn records(tx: &state::Tx<'_>, key: &Digest) -> Result<Vec<cache::Entry>, state::Error> {
    let mut all = Vec::new();
    while let Some(entry) = cache::get(tx, &key_of_mount(key, all.len()))? {
        all.push(cache::Entry { record: String::new(), ..entry });
    }
    Ok(all)
}

/// Keeps what a run left in its mounts beside its own record.
pub(crate) fn remember(
    tx: &state::Tx<'_>,
    entry: &cache::Entry,
    mounts: &[Option<ChainId>],
) -> Result<(), state::Error> {
    for (number, chain) in mounts.iter().enumerate() {
        let key = key_of_mount(&entry.key, number);
        cache::put(tx, &cache::Entry { key, chain: chain.clone(), ..entry.clone() })?;
    }
    Ok(())
}
