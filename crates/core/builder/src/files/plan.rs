//! What a `COPY` makes: every entry of its layer, in the order of the layer's archive, before anything is written.
//!
//! Pure: made of what was selected and of what is known of the layers below. What needs the kernel's help to be merged with those,
//! and what is an error, has no plan.

use super::select::Match;
use super::walk::{Item, Status};
use crate::mode::Change;
use rustix::fs::{FileType, Stat};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the files go and what is done to all of them.
#[derive(Clone, Copy)]
pub struct Target<'t> {
    /// The destination without links in it.
    pub to: &'t Path,
    /// It was written with a slash at the end.
    pub slash: bool,
    /// `--chown`.
    pub owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub mode: Option<&'t Change>,
    /// Files of a context belong to root.
    pub is_context: bool,
    /// The time of what is made anew: seconds and nanoseconds.
    pub now: (i64, i64),
    /// No time is later than this second.
    pub latest: Option<i64>,
}

impl Default for Target<'_> {
    /// Everything at the root as it is.
    fn default() -> Self {
        Self {
            to: Path::new(""),
            slash: true,
            owner: None,
            mode: None,
            is_context: false,
            now: (0, 0),
            latest: None,
        }
    }
}

/// Mode, owner and modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier file.
    Hardlink(PathBuf),
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Node<'m> {
    /// Path in the layer.
    pub path: PathBuf,
    /// What it is.
    pub content: Content,
    /// What it gets.
    pub meta: Meta,
    /// What it is copied from, with its number among all that was selected; directories on the way come from nowhere.
    pub source: Option<(usize, &'m Item)>,
    /// The layers below have a directory there.
    is_below: bool,
}

impl Node<'_> {
    /// Bytes of its file.
    pub fn size(&self) -> u64 {
        match (&self.content, self.source) {
            (Content::File, Some((_, item))) => item.stat.size,
            _ => 0,
        }
    }
}

/// The entries of a layer, directories before what is in them.
pub fn nodes<'m>(
    target: &Target<'_>,
    below: &BTreeMap<PathBuf, Stat>,
    matches: impl Iterator<Item = &'m Match>,
) -> Option<Vec<Node<'m>>> {
    let mut draft = Draft { target, nodes: Vec::new(), directories: HashSet::new(), number: 0 };
    for (path, stat) in below {
        draft.directories.insert(path.clone());
        let meta = Meta {
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
        };
        let path = path.clone();
        draft.nodes.push(Node { path, content: Content::Directory, meta, source: None, is_below: true });
    }
    let mut several = 0;
    for found in matches {
        draft.add(found)?;
        several += 1;
    }
    // Which of several names is the file may change when sources are merged.
    if several > 1 && draft.nodes.iter().any(|node| matches!(node.content, Content::Hardlink(_))) {
        return None;
    }
    let mut nodes = in_order(draft.nodes)?;
    age(&mut nodes, target.now);
    if let Some(latest) = target.latest {
        for node in &mut nodes {
            node.meta.modified = node.meta.modified.min((latest, 0));
        }
    }
    Some(nodes)
}

struct Draft<'t, 'm> {
    target: &'t Target<'t>,
    nodes: Vec<Node<'m>>,
    /// All directories that are there or will be.
    directories: HashSet<PathBuf>,
    number: usize,
}

impl<'m> Draft<'_, 'm> {
    fn add(&mut self, found: &'m Match) -> Option<()> {
        let number = self.number;
        self.number += found.items.len();
        if !found.is_dir {
            let target = self.file_target(&found.name);
            return self.entry(number, &found.items[0], target, &mut HashMap::new());
        }
        let to = self.target.to;
        let is_new = !self.is_directory(to);
        self.make(to, found.items.first().filter(|_| is_new));
        let mut links = HashMap::new();
        for (at, item) in found.items.iter().enumerate() {
            if !item.is_start() {
                self.entry(number + at, item, to.join(item.relative()), &mut links)?;
            }
        }
        Some(())
    }

    /// As [`super::copy::Writer::file_target`].
    fn file_target(&mut self, name: &OsStr) -> PathBuf {
        let to = self.target.to;
        if self.is_directory(to) || self.target.slash {
            self.make(to, None);
            return to.join(name);
        }
        self.make(to.parent().unwrap_or(Path::new("")), None);
        to.to_path_buf()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.directories.contains(path)
    }

    /// A directory and those on the way to it; a new one at the end has the time of `top`.
    fn make(&mut self, path: &Path, top: Option<&Item>) {
        let new: Vec<&Path> = path.ancestors().take_while(|path| !self.is_directory(path)).collect();
        let mode = Change::of_new_directory(self.target.mode);
        let owner = self.target.owner.unwrap_or((0, 0));
        for made in new.into_iter().rev() {
            let top = top.filter(|_| made == path);
            let modified = top.map_or(self.target.now, |item| modified(&item.stat));
            let meta = Meta { mode, owner, modified };
            let path = made.to_path_buf();
            self.directories.insert(path.clone());
            self.nodes.push(Node { path, content: Content::Directory, meta, source: None, is_below: false });
        }
    }

    /// None for what has to be made by other means.
    fn entry(
        &mut self,
        number: usize,
        item: &'m Item,
        path: PathBuf,
        links: &mut HashMap<(u64, u64), PathBuf>,
    ) -> Option<()> {
        let mut meta = self.meta(item);
        let content = match item.kind {
            FileType::Socket if !self.target.is_context => return Some(()),
            FileType::Directory => Content::Directory,
            FileType::Symlink => {
                meta.mode = 0o777;
                Content::Symlink
            }
            FileType::RegularFile if item.stat.links == 1 => Content::File,
            FileType::RegularFile => match links.entry((item.stat.dev, item.stat.ino)) {
                std::collections::hash_map::Entry::Occupied(first) => Content::Hardlink(first.get().clone()),
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(path.clone());
                    Content::File
                }
            },
            _ => return None,
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        // Files were selected without some of their directories where --exclude took those out.
        if self.nodes.last().is_none_or(|last| last.path.parent() != Some(parent)) {
            self.make(parent, None);
        }
        let mut is_below = false;
        if content == Content::Directory {
            is_below = !self.directories.insert(path.clone());
        }
        self.nodes.push(Node { path, content, meta, source: Some((number, item)), is_below });
        Some(())
    }

    fn meta(&self, item: &Item) -> Meta {
        let stat = &item.stat;
        let own = if self.target.is_context { (0, 0) } else { (stat.uid, stat.gid) };
        let mode = stat.mode & 0o7777;
        let changed =
            self.target.mode.map_or(mode, |change| change.apply(mode, item.kind == FileType::Directory));
        Meta { mode: changed, owner: self.target.owner.unwrap_or(own), modified: modified(stat) }
    }
}

fn modified(stat: &Status) -> (i64, i64) {
    (stat.modified.0, stat.modified.1.into())
}

/// Sorted as an archive is, each path once: what was copied last counts. None if a file and a directory meet.
fn in_order(mut nodes: Vec<Node<'_>>) -> Option<Vec<Node<'_>>> {
    // One source is in order as it was walked.
    if !nodes.is_sorted_by(|a, b| order(&a.path, &b.path) != Ordering::Greater) {
        nodes.sort_by(|a, b| order(&a.path, &b.path));
    }
    let mut is_clash = false;
    nodes.dedup_by(|node, last| {
        if last.path != node.path {
            return false;
        }
        is_clash |= (last.content == Content::Directory) != (node.content == Content::Directory);
        let is_below = last.is_below;
        // A directory that is passed again stays what its source made of it.
        std::mem::swap(last, node);
        last.is_below |= is_below;
        true
    });
    (!is_clash).then_some(nodes)
}

/// Directories of the layers below in which something is made become new; those that are only passed through keep their time.
fn age(nodes: &mut [Node<'_>], now: (i64, i64)) {
    let mut touched: HashSet<PathBuf> = HashSet::new();
    let mut last = None;
    for node in nodes.iter().filter(|node| !node.is_below) {
        let parent = node.path.parent().unwrap_or(Path::new(""));
        if last != Some(parent) {
            touched.insert(parent.to_path_buf());
            last = Some(parent);
        }
    }
    for node in nodes.iter_mut().filter(|node| node.is_below && node.source.is_none()) {
        if touched.contains(&node.path) {
            node.meta.modified = now;
        }
    }
}

/// The order of paths in an archive: names of a directory by their bytes, a directory before what is in it.
pub fn order(a: &Path, b: &Path) -> Ordering {
    // No name has a byte below the slash's rank here, for none has a NUL.
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    a[same..].first().map(rank).cmp(&b[same..].first().map(rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More directories than the stack of a thread has room for calls.
    #[test]
    fn a_destination_may_be_deep() {
        let to: PathBuf = "a/".repeat(10_000).into();
        let target = Target { to: &to, ..Target::default() };
        let mut draft = Draft { target: &target, nodes: Vec::new(), directories: HashSet::new(), number: 0 };
        assert_eq!(draft.file_target(OsStr::new("f")), to.join("f"));
        assert_eq!(draft.nodes.len(), 10_000);
        assert!(draft.nodes.is_sorted_by(|a, b| order(&a.path, &b.path) == Ordering::Less));
    }

    #[test]
    fn paths_are_in_the_order_of_an_archive() {
        let mut paths = ["a.b", "a/b", "a", "a-", "ab", "a/b/c", "a/b-"].map(Path::new);
        paths.sort_by(|a, b| order(a, b));
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/b-", "a-", "a.b", "ab"].map(Path::new));
    }
}
