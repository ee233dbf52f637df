//! The tree of an image while it is made: inodes by number, names in their directories, and paths looked up as the kernel
//! looks them up below a root that they can't leave.

use super::attributes::Xattrs;
use crate::Time;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The number of an inode.
pub(super) type Id = u32;
pub(super) const ROOT: Id = 0;

/// Links that one look-up follows, bytes of a name, and of a path with the NUL at its end, as the kernel has them.
const LINKS_MAX: u32 = 40;
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// Names of a directory.
pub(super) type Children = BTreeMap<Box<[u8]>, Id>;

/// An object of the file system.
pub(super) struct Node {
    pub body: Body,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Its names; a directory has one.
    pub links: u32,
    pub xattrs: Xattrs,
}

/// What is different from kind to kind.
pub(super) enum Body {
    Directory {
        parent: Id,
        children: Children,
    },
    /// Its content lies in the image from this block on.
    File {
        size: u64,
        start: u32,
    },
    /// A file whose content will lie beside its inode.
    Small(Box<[u8]>),
    Link(Box<[u8]>),
    /// The number in the kernel's encoding.
    Char(u32),
    Block(u32),
    Fifo,
}

impl Node {
    /// An object of root's from 1970 without a name.
    pub fn new(body: Body, mode: u32) -> Node {
        Node { body, mode, uid: 0, gid: 0, mtime: Time::default(), links: 0, xattrs: Xattrs::default() }
    }

    pub fn directory(parent: Id, mode: u32) -> Node {
        Node::new(Body::Directory { parent, children: Children::new() }, mode)
    }

    /// Overlayfs' mark of a name that is gone.
    pub fn whiteout() -> Node {
        Node::new(Body::Char(0), 0)
    }

    /// Bytes that its parts take in memory.
    fn cost(&self) -> u64 {
        let link = if let Body::Link(target) = &self.body { target.len() as u64 } else { 0 };
        link + self.xattrs.cost()
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory { .. })
    }

    pub fn is_whiteout(&self) -> bool {
        matches!(self.body, Body::Char(0))
    }
}

/// About what an inode, a name of it beside its bytes, and what a directory is given at the end cost in memory.
const NODE_COST: u64 = size_of::<Node>() as u64;
const NAME_COST: u64 = 80;

/// All inodes, the root first.
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Numbers that have nothing any more.
    free: Vec<Id>,
    /// Bytes that the names and objects take in memory, about.
    cost: u64,
}

impl Tree {
    pub fn new() -> Tree {
        let mut root = Node::directory(ROOT, 0o755);
        root.links = 1;
        Tree { nodes: vec![root], free: Vec::new(), cost: 0 }
    }

    /// Bytes that it takes in memory, about; small files not counted.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Changes an object whose attributes may become more or fewer.
    pub fn change<T>(&mut self, id: Id, change: impl FnOnce(&mut Node) -> T) -> T {
        let node = self.node_mut(id);
        let before = node.xattrs.cost();
        let outcome = change(node);
        let after = node.xattrs.cost();
        self.cost = self.cost + after - before;
        outcome
    }

    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// How many numbers are given out.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The names of a directory; of anything else, none.
    pub fn children(&self, id: Id) -> &Children {
        static NONE: Children = Children::new();
        match &self.node(id).body {
            Body::Directory { children, .. } => children,
            _ => &NONE,
        }
    }

    pub fn child(&self, directory: Id, name: &[u8]) -> Option<Id> {
        self.children(directory).get(name).copied()
    }

    /// Adds an object under a name.
    pub fn add(&mut self, directory: Id, name: &[u8], node: Node) -> io::Result<Id> {
        check_name(name)?;
        if self.child(directory, name).is_some() {
            return Err(Errno::EXIST.into());
        }
        self.cost += NODE_COST + node.cost();
        let id = match self.free.pop() {
            Some(id) => {
                *self.node_mut(id) = node;
                id
            }
            None => {
                let id = Id::try_from(self.nodes.len()).map_err(|_| Errno::NOSPC)?;
                self.nodes.push(node);
                id
            }
        };
        self.link(directory, name, id)?;
        Ok(id)
    }

    /// Gives an object one more name.
    pub fn link(&mut self, directory: Id, name: &[u8], id: Id) -> io::Result<()> {
        check_name(name)?;
        let Body::Directory { children, .. } = &mut self.node_mut(directory).body else {
            return Err(Errno::NOTDIR.into());
        };
        if children.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        children.insert(name.into(), id);
        self.cost += NAME_COST + name.len() as u64;
        self.node_mut(id).links += 1;
        Ok(())
    }

    /// Takes a name away with all below it; `lost` gets what has no name any more.
    pub fn remove(&mut self, directory: Id, name: &[u8], mut lost: impl FnMut(Node)) {
        let Body::Directory { children, .. } = &mut self.node_mut(directory).body else { return };
        let mut gone: Vec<(Id, usize)> =
            children.remove(name).map(|id| (id, name.len())).into_iter().collect();
        while let Some((id, length)) = gone.pop() {
            self.cost -= NAME_COST + length as u64;
            let node = self.node_mut(id);
            node.links -= 1;
            if node.links > 0 {
                continue;
            }
            let node = mem::replace(node, Node::new(Body::Fifo, 0));
            self.cost -= NODE_COST + node.cost();
            self.free.push(id);
            if let Body::Directory { children, .. } = &node.body {
                gone.extend(children.iter().map(|(name, id)| (*id, name.len())));
            }
            lost(node);
        }
    }

    /// What a path leads to; whether a link at its end is followed.
    pub fn resolve(&self, path: &Path, follow: bool) -> io::Result<Id> {
        let path = path.as_os_str().as_bytes();
        if path.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let mut left: Vec<&[u8]> = Vec::new();
        push(&mut left, path);
        let (mut at, mut followed) = (ROOT, 0);
        while let Some(name) = left.pop() {
            let Body::Directory { parent, children } = &self.node(at).body else {
                return Err(Errno::NOTDIR.into());
            };
            match name {
                b"." => continue,
                b".." => at = *parent,
                _ => {
                    check_name(name)?;
                    let child = *children.get(name).ok_or(Errno::NOENT)?;
                    match &self.node(child).body {
                        Body::Link(target) if follow || !left.is_empty() => {
                            followed += 1;
                            if followed > LINKS_MAX {
                                return Err(Errno::LOOP.into());
                            }
                            if target.starts_with(b"/") {
                                at = ROOT;
                            }
                            push(&mut left, target);
                        }
                        _ => at = child,
                    }
                }
            }
        }
        Ok(at)
    }

    /// The directory that a path leads to, links followed.
    pub fn directory(&self, path: &Path) -> io::Result<Id> {
        let id = self.resolve(path, true)?;
        if self.node(id).is_directory() { Ok(id) } else { Err(Errno::NOTDIR.into()) }
    }

    /// The directory that the last name of a path is in, and that name.
    pub fn slot<'p>(&self, path: &'p Path) -> io::Result<(Id, &'p [u8])> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name.as_bytes()))
    }
}

fn check_name(name: &[u8]) -> io::Result<()> {
    if name.len() > NAME_MAX { Err(Errno::NAMETOOLONG.into()) } else { Ok(()) }
}

/// Puts the components of a path in front of what is left, the first at the end. A slash at the end asks for a directory.
fn push<'t>(left: &mut Vec<&'t [u8]>, path: &'t [u8]) {
    if path.ends_with(b"/") {
        left.push(b".");
    }
    left.extend(path.rsplit(|byte| *byte == b'/').filter(|name| !name.is_empty()));
}
