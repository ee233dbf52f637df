//! Writing a layer's files where they will stay, without an overlay mount between.
//!
//! What a `COPY` adds is known beforehand, and in most cases also what of it meets something in the layers below: then the
//! directories that are there are made anew in the layer as overlayfs would have copied them, and files are created beside
//! them. In all other cases, errors among them, the caller takes the mount.
//!
//! What the last layer of the same step has already is not written again: the new layer is laid over that one.

use super::copy::recall;
use super::{Prepared, Workspace};
use crate::error::{BoxError, Error};
use crate::files::index::Sum;
use crate::files::make::{self, Lower, Made, Work};
use crate::files::plan::{self, Node, Target};
use crate::files::select::Match;
use crate::files::walk::Tree;
use crate::files::{self, io, listing, real, share};
use crate::graph::{Copy, Op};
use crate::mode::Change;
use crate::session::{Session, io_error, tree};
use crate::step::{file_error, scope};
use oci::ChainId;
use rustix::fs::{FileType, Stat};
use state::cache;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Over, Packed};
use sys::root::Root;

/// A copy of files to be made without a mount.
pub(super) struct Direct<'d, 's> {
    pub session: &'d Session<'s>,
    pub op: &'d Op,
    pub copy: &'d Copy,
    pub parent: Option<&'d ChainId>,
    /// The layers below, mounted.
    pub below: Option<&'d Root>,
    pub owner: Option<(u32, u32)>,
    pub mode: Option<&'d Change>,
}

/// A layer that has much of what is to be made.
struct Half {
    chain: ChainId,
    root: Root,
    has: Vec<bool>,
    gone: Vec<PathBuf>,
}

impl Direct<'_, '_> {
    /// Makes the layer; none if it has to be made otherwise.
    pub fn run(&self, prepared: &mut Prepared) -> Result<Option<ChainId>, Error> {
        let session = self.session;
        let fail = |e| file_error(session, self.op, e);
        let matches = || prepared.matches.values().flatten();
        let Some((to, there)) = plan(self.below, &self.copy.dest, matches()).map_err(fail)? else {
            return Ok(None);
        };
        let context = session.context_of(&self.copy.from);
        let Some(root) = context.map(|c| &c.root).or(prepared.view.as_ref()) else { return Ok(None) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let target = Target {
            to: &to,
            slash: self.copy.dest.ends_with('/'),
            owner: self.owner,
            mode: self.mode,
            is_context: context.is_some(),
            now: (now.as_secs() as i64, now.subsec_nanos().into()),
            latest: session.latest(),
        };
        let Some(nodes) = plan::nodes(&target, &there.0, matches()) else { return Ok(None) };
        let cancelled = || session.stopped();
        let from = tree(root, context, &cancelled);
        let index = session.index(&from).map_err(fail)?;
        recall(&prepared.matches, &mut prepared.sums, index.as_deref());
        let half = self.half(&nodes, &prepared.sums)?;
        let missing: Vec<bool> = prepared.sums.iter().map(Option::is_none).collect();
        // A file that changes from now on is not taken for what was read of it.
        let read = SystemTime::now();
        let (chain, changed) = self.make(&nodes, &from, &mut prepared.sums, half)?;
        prepared.unsteady |= !changed.is_empty();
        // There may be a hundred thousand of either.
        drop(nodes);
        if let Some(index) = index {
            let items = prepared.matches.values().flatten().flat_map(|found| &found.items);
            for (number, (item, sum)) in items.zip(&prepared.sums).enumerate() {
                if let (Some(sum), true) = (sum, missing[number] && !changed.contains(&number)) {
                    index.learn(&item.path, &item.stat, read, *sum);
                }
            }
        }
        Ok(Some(chain))
    }

    /// The layer that the last run of this step made, if the new one can be laid over it.
    fn half(&self, nodes: &[Node<'_>], sums: &[Option<Sum>]) -> Result<Option<Half>, Error> {
        let session = self.session;
        if !share::is_worth(nodes) {
            return Ok(None);
        }
        let Some(last) = session.env.db.read(|tx| cache::latest(tx, &scope(self.op)))? else {
            return Ok(None);
        };
        let failed =
            |e: store::Error| Error::Store { attempt: "find the layer of the last build", source: e.into() };
        let Some(mut chain) = last.chain else { return Ok(None) };
        // Halves are not piled up: that which is whole is shared.
        let layer = loop {
            match session.env.store.use_layer(session.lease, &chain).map_err(failed)? {
                Some(layer) => match layer.over {
                    Some(over) => chain = over.chain,
                    None => break layer,
                },
                None => return Ok(None),
            }
        };
        let Some(bytes) = session.env.store.listing(&chain) else { return Ok(None) };
        let below = |path: &Path| self.below.is_some_and(|view| view.lstat(path).is_ok());
        let common = listing::decode(&bytes).and_then(|old| share::common(nodes, sums, old, below));
        let Some((has, gone)) = common else { return Ok(None) };
        let root = session.env.store.layer_root(&layer).map_err(failed)?;
        Ok(Some(Half { chain, root, has, gone }))
    }

    /// Makes the files and the layer; and which sources changed meanwhile.
    fn make(
        &self,
        nodes: &[Node<'_>],
        from: &Tree<'_>,
        sums: &mut [Option<Sum>],
        half: Option<Half>,
    ) -> Result<(ChainId, BTreeSet<usize>), Error> {
        let session = self.session;
        let workspace = Workspace::new(session)?;
        let layer = Root::open(&workspace.upper).map_err(io_error("open", &workspace.upper))?;
        let lower = half.as_ref().map(|half| Lower { root: &half.root, has: &half.has, gone: &half.gone });
        let work = Work { nodes, tree: from, layer: &layer, lower };
        let made = make::make(&work, sums).map_err(|e| file_error(session, self.op, e))?;
        let Made { archive, size, own, changed } = made;
        let failed = |e: store::Error| Error::Store { attempt: "make layer", source: BoxError::from(e) };
        let Some((diff_id, archive_size)) = archive else {
            if half.is_some() {
                // Attributes turned up that the shared layer says nothing about: all of it anew.
                return self.make(nodes, from, sums, None);
            }
            let made = session.env.store.layer_from_dir(session.lease, self.parent, &workspace.upper);
            return Ok((made.map_err(failed)?.chain_id, changed));
        };
        let of = |node: &Node<'_>| node.source.and_then(|(number, _)| sums[number]);
        let listing = |sink: &mut dyn Write| {
            let entry = |node| listing::Entry::of(node, of(node).as_ref());
            listing::write(nodes.iter().map(entry), sink)
        };
        let packed = Packed {
            files: &workspace.upper,
            diff_id,
            archive_size,
            size,
            over: half.map(|half| Over { chain: half.chain, own }),
            listing: if changed.is_empty() && share::is_worth(nodes) { Some(&listing) } else { None },
        };
        let made = session.env.store.layer_from_packed(session.lease, self.parent, packed);
        Ok((made.map_err(failed)?.chain_id, changed))
    }
}

/// Directories of the layers below that the new layer has too, by path, parents first.
struct Below(BTreeMap<PathBuf, Stat>);

/// What is below these matches at this destination; none if the kernel has to merge them.
fn plan<'m>(
    view: Option<&Root>,
    dest: &str,
    matches: impl Iterator<Item = &'m Match>,
) -> Result<Option<(PathBuf, Below)>, files::Error> {
    let mut below = Below(BTreeMap::new());
    let Some(view) = view else {
        let to = dest.split('/').filter(|part| !matches!(*part, "" | "."));
        return Ok((!dest.contains("..")).then(|| (to.collect(), below)));
    };
    let to = real::path(view, Path::new(dest))?;
    let mut at = PathBuf::new();
    for component in to.components() {
        at.push(component);
        match below.enter(view, &at)? {
            Found::Nothing => break,
            Found::Directory => {}
            // The destination itself may be a file to be replaced.
            Found::Other if at == to && !dest.ends_with('/') => {}
            Found::Other | Found::Special => return Ok(None),
        }
    }
    for found in matches {
        if !below.admits(view, &to, found)? {
            return Ok(None);
        }
    }
    Ok(Some((to, below)))
}

enum Found {
    Nothing,
    Directory,
    Other,
    /// A directory with attributes.
    Special,
}

impl Below {
    fn enter(&mut self, view: &Root, path: &Path) -> Result<Found, files::Error> {
        let stat = match view.lstat(path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Found::Nothing);
            }
            other => other.map_err(io("stat", path))?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Found::Other);
        }
        let names = view.xattr_names(path).map_err(io("read attributes of", path))?;
        if names.iter().any(|name| !name.as_bytes().starts_with(b"trusted.overlay.")) {
            return Ok(Found::Special);
        }
        self.0.insert(path.to_path_buf(), stat);
        Ok(Found::Directory)
    }

    /// Whether all of a match finds nothing below, or directories where it has directories, or files where it has files.
    fn admits(&mut self, view: &Root, to: &Path, found: &Match) -> Result<bool, files::Error> {
        let is_dir = |below: &Self, path: &Path| path.as_os_str().is_empty() || below.0.contains_key(path);
        if !found.is_dir {
            let target = if is_dir(self, to) { to.join(&found.name) } else { to.to_path_buf() };
            let parent = target.parent().unwrap_or(Path::new(""));
            return Ok(!is_dir(self, parent)
                || !matches!(self.enter(view, &target)?, Found::Directory | Found::Special));
        }
        for item in found.items.iter().filter(|item| !item.is_start()) {
            let target = to.join(item.relative());
            if !is_dir(self, target.parent().unwrap_or(Path::new(""))) {
                continue;
            }
            let fits = match (self.enter(view, &target)?, item.kind == FileType::Directory) {
                (Found::Nothing, _) | (Found::Directory, true) | (Found::Other, false) => true,
                (Found::Special, _) | (Found::Directory, false) | (Found::Other, true) => false,
            };
            if !fits {
                return Ok(false);
            }
        }
        // A file where the source's directory shall be.
        Ok(is_dir(self, to) || view.lstat(to).is_err())
    }
}
