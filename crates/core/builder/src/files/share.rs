//! What a layer that is to be made has in common with one that is here.

use super::index::Sum;
use super::listing::{Entries, Entry};
use super::plan::{Content, Node, order};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A layer of less than this is made whole.
const WORTH: u64 = 1 << 20;
/// What making an entry costs besides its bytes.
const ENTRY: u64 = 16 << 10;
/// At least one part in so many has to be the same.
const SHARE: u64 = 4;

/// Whether noting what the layer has may be of use later.
pub fn is_worth(nodes: &[Node<'_>]) -> bool {
    weight(nodes.iter()) >= WORTH
}

fn weight<'n>(nodes: impl Iterator<Item = &'n Node<'n>>) -> u64 {
    nodes.map(|node| ENTRY + node.size()).sum()
}

/// Which entries the other layer has, and what else it has; none if little is common or if laying the new one over it would
/// give something else than the new one alone: `below` says whether the layers below have anything at a path.
pub fn common(
    nodes: &[Node<'_>],
    sums: &[Option<Sum>],
    old: Entries<'_>,
    below: impl Fn(&Path) -> bool,
) -> Option<(Vec<bool>, Vec<PathBuf>)> {
    // Names of one file would become two files.
    if nodes.iter().any(|node| matches!(node.content, Content::Hardlink(_))) {
        return None;
    }
    let mut has = vec![false; nodes.len()];
    let mut gone: Vec<PathBuf> = Vec::new();
    let mut left = old.peekable();
    for (at, node) in nodes.iter().enumerate() {
        let is_before = |entry: &Entry<'_>| order(entry.path, &node.path) == Ordering::Less;
        while let Some(entry) = left.next_if(is_before) {
            leave_out(entry.path, &mut gone);
        }
        let Some(entry) = left.next_if(|entry| entry.path == node.path) else { continue };
        let sum = node.source.and_then(|(number, _)| sums[number].as_ref());
        let new = Entry::of(node, sum);
        if !entry.is_same_kind(&new) {
            return None;
        }
        has[at] = entry.is_same(&new) && (node.content != Content::File || sum.is_some());
    }
    left.for_each(|entry| leave_out(entry.path, &mut gone));
    // A mark would hide what is below as well.
    if gone.iter().any(|path| below(path)) {
        return None;
    }
    open_parents(nodes, &mut has, &gone);
    let own = weight(nodes.iter().zip(&has).filter(|(_, has)| !**has).map(|(node, _)| node));
    (own.saturating_mul(SHARE) <= weight(nodes.iter()).saturating_mul(SHARE - 1)).then_some((has, gone))
}

/// What is in a directory that is gone goes with it.
fn leave_out(path: &Path, gone: &mut Vec<PathBuf>) {
    if gone.last().is_none_or(|last| !path.starts_with(last)) {
        gone.push(path.to_path_buf());
    }
}

/// Directories in which something is made have to be made too.
fn open_parents(nodes: &[Node<'_>], has: &mut [bool], gone: &[PathBuf]) {
    let directories: HashMap<&Path, usize> = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.content == Content::Directory)
        .map(|(at, node)| (node.path.as_path(), at))
        .collect();
    let own: Vec<usize> = (0..nodes.len()).filter(|at| !has[*at]).collect();
    for path in own.iter().map(|at| nodes[*at].path.as_path()).chain(gone.iter().map(PathBuf::as_path)) {
        for parent in path.ancestors().skip(1) {
            if let Some(at) = directories.get(parent) {
                has[*at] = false;
            }
        }
    }
}
