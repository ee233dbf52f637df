//! The metadata of an image: where each inode and directory lies, and their bytes.
//!
//! ```text
//! block 0           superblock at byte 1024
//! blocks 1…         contents of files, as they arrived
//! then              directories, but for their last parts
//! then              inodes, each with its attributes and, if that fits into one block, what its content ends with
//! ```
//!
//! Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h: inodes of 64 bytes, layouts "flat plain" and "flat
//! inline", nothing compressed. An inode's number is its place behind the first inode's block in units of 32 bytes.

use super::blocks::{BLOCK, Blocks};
use super::tree::{Body, Id, Node, ROOT, Tree};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io;

const MAGIC: u32 = 0xe0f5_e1e2;
/// Times are those of inodes.
const COMPAT_MTIME: u32 = 2;
const SLOT: u64 = 32;
const INODE: u64 = 64;
const DIRENT: usize = 12;
/// The first inode has not the number 0, which means "none" to many a program.
const FIRST: u64 = 64;
/// Content of a file that lies beside its inode at most: larger ones would leave holes in front of them.
pub(super) const SMALL: u64 = 2048;

/// What of a directory lies beside its inode at most: there is always a place for that much and an inode before it.
const TAIL_MAX: u64 = BLOCK - SLOT;

/// Layouts in bits 1 to 3 of an inode's format, whose bit 0 says that it has 64 bytes.
const PLAIN: u16 = 1;
const INLINE: u16 = 2 << 1 | 1;

/// Where an object lies.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Of its inode, from the first inode's block on; 0 is nowhere.
    offset: u64,
    /// Of its content, but for a last part that is beside the inode.
    start: u32,
    blocks: u32,
    /// Bytes beside the inode.
    tail: u32,
    size: u64,
}

impl Place {
    /// Bytes of the blocks.
    fn length(&self) -> usize {
        (u64::from(self.blocks) * BLOCK) as usize
    }
}

/// Writes directories and inodes behind what was written, then the superblock.
pub(super) fn write(tree: &Tree, mut blocks: Blocks, uuid: [u8; 16]) -> io::Result<File> {
    let first = blocks.align()?;
    let plan = Plan::of(tree, first)?;
    let mut names = Names::default();
    for id in &plan.order {
        let place = plan.places[*id as usize];
        match &tree.node(*id).body {
            Body::Directory { .. } if place.blocks > 0 => {
                names.collect(tree, &plan, *id);
                blocks.write(&names.encode()[..place.length()])?;
            }
            Body::Link(target) if place.blocks > 0 => {
                blocks.write(target)?;
                blocks.align()?;
            }
            _ => {}
        }
    }
    let mut bytes = Vec::new();
    let mut at = 0;
    for (number, id) in plan.order.iter().enumerate() {
        let place = plan.places[*id as usize];
        bytes.clear();
        bytes.resize((place.offset - at) as usize, 0);
        inode(tree, *id, &place, number as u32 + 1, &mut bytes);
        match &tree.node(*id).body {
            Body::Directory { .. } => {
                names.collect(tree, &plan, *id);
                bytes.extend_from_slice(&names.encode()[place.length()..][..place.tail as usize]);
            }
            Body::Small(content) | Body::Link(content) if place.tail > 0 => bytes.extend_from_slice(content),
            _ => {}
        }
        at += bytes.len() as u64;
        blocks.write(&bytes)?;
    }
    let end = blocks.align()?;
    blocks.finish(&superblock(&plan, end, uuid))
}

/// Where everything goes.
struct Plan {
    places: Vec<Place>,
    /// Inodes in the order in which they lie: those of a directory's names side by side.
    order: Vec<Id>,
    /// The block of the first inode.
    meta: u32,
}

impl Plan {
    fn of(tree: &Tree, first: u32) -> io::Result<Plan> {
        let mut plan = Plan { places: vec![Place::default(); tree.len()], order: Vec::new(), meta: first };
        let mut end = FIRST;
        let mut directories = VecDeque::from([ROOT]);
        plan.put(tree, ROOT, &mut end)?;
        while let Some(directory) = directories.pop_front() {
            for child in tree.children(directory).values() {
                // A second name of what has a place.
                if plan.places[*child as usize].offset == 0 {
                    plan.put(tree, *child, &mut end)?;
                    if tree.node(*child).is_directory() {
                        directories.push_back(*child);
                    }
                }
            }
        }
        Ok(plan)
    }

    fn put(&mut self, tree: &Tree, id: Id, end: &mut u64) -> io::Result<()> {
        let node = tree.node(id);
        let mut place = Place::default();
        let head = INODE + node.xattrs.size() as u64;
        match &node.body {
            Body::Directory { .. } => {
                let (full, tail) = measure(tree, id);
                let inline = tail <= TAIL_MAX;
                place.blocks = full + u32::from(!inline);
                place.tail = if inline { tail as u32 } else { 0 };
                place.size = u64::from(full) * BLOCK + tail;
            }
            Body::Small(content) | Body::Link(content) => {
                place.size = content.len() as u64;
                let inline = place.size <= SMALL;
                (place.blocks, place.tail) = if inline { (0, place.size as u32) } else { (1, 0) };
            }
            Body::File { size, start } => (place.size, place.start) = (*size, *start),
            _ => {}
        }
        if place.blocks > 0 {
            place.start = self.meta;
            self.meta = self.meta.checked_add(place.blocks).ok_or(Errno::FBIG)?;
        }
        // What is beside the inode must not go over the end of a block.
        if place.tail > 0 && (*end + head) % BLOCK + u64::from(place.tail) > BLOCK {
            let room = BLOCK - (*end + head) % BLOCK;
            *end += room.next_multiple_of(SLOT);
        }
        place.offset = *end;
        *end = (*end + head + u64::from(place.tail)).next_multiple_of(SLOT);
        self.places[id as usize] = place;
        self.order.push(id);
        Ok(())
    }

    fn nid(&self, id: Id) -> u64 {
        self.places[id as usize].offset / SLOT
    }
}

/// Names of a directory with `.` and `..`, sorted, and where they lead.
#[derive(Default)]
struct Names<'t> {
    list: Vec<(&'t [u8], u64, u8)>,
    bytes: Vec<u8>,
}

impl<'t> Names<'t> {
    fn collect(&mut self, tree: &'t Tree, plan: &Plan, id: Id) {
        self.list.clear();
        let Body::Directory { parent, children } = &tree.node(id).body else { return };
        self.list.extend([(&b"."[..], plan.nid(id), 2), (&b".."[..], plan.nid(*parent), 2)]);
        for (name, id) in children {
            self.list.push((name, plan.nid(*id), kind(tree.node(*id))));
        }
        self.list.sort_unstable_by_key(|(name, _, _)| *name);
    }

    /// Blocks of entries, each with the names of its entries behind them; the last is as short as it can be.
    fn encode(&mut self) -> &[u8] {
        self.bytes.clear();
        let mut left = &self.list[..];
        while !left.is_empty() {
            let (count, _) = fitting(left.iter().map(|(name, _, _)| name.len()));
            let (now, later) = left.split_at(count);
            self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK as usize), 0);
            let mut at = count * DIRENT;
            for (name, nid, kind) in now {
                self.bytes.extend(nid.to_le_bytes());
                self.bytes.extend((at as u16).to_le_bytes());
                self.bytes.extend([*kind, 0]);
                at += name.len();
            }
            now.iter().for_each(|(name, _, _)| self.bytes.extend_from_slice(name));
            left = later;
        }
        // What doesn't go beside the inode is read in whole blocks.
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK as usize), 0);
        &self.bytes
    }
}

/// How many names, by their lengths, fit into a block, and how much of it they take.
fn fitting(lengths: impl Iterator<Item = usize>) -> (usize, u64) {
    let (mut count, mut used) = (0, 0);
    for length in lengths {
        if used + length + DIRENT > BLOCK as usize {
            break;
        }
        used += length + DIRENT;
        count += 1;
    }
    (count, used as u64)
}

/// Full blocks of a directory and bytes of its last part.
fn measure(tree: &Tree, id: Id) -> (u32, u64) {
    let mut lengths: Vec<(&[u8], usize)> = vec![(b".", 1), (b"..", 2)];
    lengths.extend(tree.children(id).keys().map(|name| (&name[..], name.len())));
    lengths.sort_unstable_by_key(|(name, _)| *name);
    let mut left = &lengths[..];
    let mut full = 0;
    loop {
        let (count, used) = fitting(left.iter().map(|(_, length)| *length));
        left = &left[count..];
        if left.is_empty() {
            return (full, used);
        }
        full += 1;
    }
}

/// As directories name kinds.
fn kind(node: &Node) -> u8 {
    match node.body {
        Body::File { .. } | Body::Small(_) => 1,
        Body::Directory { .. } => 2,
        Body::Char(_) => 3,
        Body::Block(_) => 4,
        Body::Fifo => 5,
        Body::Link(_) => 7,
    }
}

/// As modes name kinds.
fn format(node: &Node) -> u32 {
    match node.body {
        Body::Fifo => 0o010_000,
        Body::Char(_) => 0o020_000,
        Body::Directory { .. } => 0o040_000,
        Body::Block(_) => 0o060_000,
        Body::File { .. } | Body::Small(_) => 0o100_000,
        Body::Link(_) => 0o120_000,
    }
}

/// Appends an inode (`struct erofs_inode_extended`) with its attributes.
fn inode(tree: &Tree, id: Id, place: &Place, number: u32, out: &mut Vec<u8>) {
    let node = tree.node(id);
    let layout = if place.tail > 0 { INLINE } else { PLAIN };
    let data = match node.body {
        Body::Char(device) | Body::Block(device) => device,
        _ => place.start,
    };
    out.extend(layout.to_le_bytes());
    out.extend(node.xattrs.count().to_le_bytes());
    out.extend(((format(node) | node.mode) as u16).to_le_bytes());
    out.extend([0; 2]);
    out.extend(place.size.to_le_bytes());
    out.extend(data.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend(node.uid.to_le_bytes());
    out.extend(node.gid.to_le_bytes());
    out.extend(node.mtime.seconds.to_le_bytes());
    out.extend(node.mtime.nanoseconds.to_le_bytes());
    out.extend(links(tree, id).to_le_bytes());
    out.extend([0; 16]);
    node.xattrs.encode(out);
}

/// A directory's names are its own, `.`, and `..` of each directory in it.
fn links(tree: &Tree, id: Id) -> u32 {
    let directories = tree.children(id).values().filter(|child| tree.node(**child).is_directory()).count();
    tree.node(id).links + u32::from(tree.node(id).is_directory()) + directories as u32
}

/// The block with `struct erofs_super_block`.
fn superblock(plan: &Plan, end: u32, uuid: [u8; 16]) -> Vec<u8> {
    let mut block = vec![0; 1024];
    block.extend(MAGIC.to_le_bytes());
    block.extend([0; 4]);
    block.extend(COMPAT_MTIME.to_le_bytes());
    // Blocks are a power of two.
    block.extend([BLOCK.trailing_zeros() as u8, 0]);
    block.extend((plan.nid(ROOT) as u16).to_le_bytes());
    block.extend((plan.order.len() as u64).to_le_bytes());
    // Time of making, of which nothing is said.
    block.extend([0; 12]);
    block.extend(end.to_le_bytes());
    block.extend(plan.meta.to_le_bytes());
    block.extend([0; 4]);
    block.extend(uuid);
    block.resize(BLOCK as usize, 0);
    block
}
