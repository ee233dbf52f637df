//! Extended attributes: which of them the kernel takes for which object, what an access list does to the mode, and their form
//! in an image.

use super::tree::{Body, Node};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Values by name. Most objects have none, which costs a word.
#[derive(Default)]
pub(super) struct Xattrs(Option<Box<Values>>);

type Values = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Limits of the kernel, and of the image: a value's length is 16 bits, and the length of all counts words in 16 bits.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65_535;
const ALL_MAX: usize = 65_000 * 4;

/// The header in front of an inode's attributes and that of each.
const HEADER: usize = 12;
const ENTRY: usize = 4;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
/// Prefixes have numbers.
const PREFIXES: [(&[u8], u8); 5] =
    [(b"user.", 1), (ACCESS, 2), (DEFAULT, 3), (b"trusted.", 4), (b"security.", 6)];

impl Xattrs {
    fn insert(&mut self, name: &[u8], value: &[u8]) {
        self.0.get_or_insert_default().insert(name.into(), value.into());
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(all) = &mut self.0 {
            all.remove(name);
            if all.is_empty() {
                self.0 = None;
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().flat_map(|all| all.iter()).map(|(name, value)| (&name[..], &value[..]))
    }

    /// Bytes that they take in memory, about.
    pub fn cost(&self) -> u64 {
        self.iter().map(|(name, value)| (name.len() + value.len() + 64) as u64).sum()
    }

    /// Bytes that they take behind their inode.
    pub fn size(&self) -> usize {
        let sizes = self.iter().map(|(name, value)| entry_size(name, value));
        match sizes.sum::<usize>() {
            0 => 0,
            sum => HEADER + sum,
        }
    }

    /// What the inode says about their size.
    pub fn count(&self) -> u16 {
        match self.size() {
            0 => 0,
            // ALL_MAX sees to it that it fits.
            size => ((size - HEADER) / 4 + 1) as u16,
        }
    }

    /// Appends them as they lie behind their inode.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.0.is_none() {
            return;
        }
        // `out` may have anything in front.
        let start = out.len();
        out.extend([0; HEADER]);
        for (name, value) in self.iter() {
            let (index, suffix) = split(name);
            out.extend([suffix.len() as u8, index]);
            out.extend((value.len() as u16).to_le_bytes());
            out.extend(suffix);
            out.extend(value);
            out.resize(start + (out.len() - start).next_multiple_of(4), 0);
        }
    }
}

fn entry_size(name: &[u8], value: &[u8]) -> usize {
    (ENTRY + split(name).1.len() + value.len()).next_multiple_of(4)
}

/// The number of a name's prefix and what is behind it. Only names that have one get here.
fn split(name: &[u8]) -> (u8, &[u8]) {
    let known = PREFIXES.iter().find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?)));
    known.unwrap_or((0, name))
}

/// Sets an attribute as the kernel does it for root on a file system that has them all; whether it was taken. What the kernel
/// refuses to have there, and only that, is left out.
pub(super) fn set(node: &mut Node, name: &OsStr, value: &[u8]) -> io::Result<bool> {
    let name = name.as_bytes();
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Errno::RANGE.into());
    }
    if value.len() > VALUE_MAX {
        return Err(Errno::TOOBIG.into());
    }
    if name == ACCESS || name == DEFAULT {
        return set_access_list(node, name, value);
    }
    let (index, suffix) = split(name);
    match index {
        0 => return Ok(false),
        // A name that only begins like that of an access list.
        2 | 3 => return Ok(false),
        1 if !matches!(node.body, Body::Directory { .. } | Body::File { .. } | Body::Small(_)) => {
            return Ok(false);
        }
        _ if suffix.is_empty() => return Err(Errno::INVAL.into()),
        _ => {}
    }
    if name == b"security.capability" && !is_capability(value) {
        return Err(Errno::INVAL.into());
    }
    node.xattrs.insert(name, value);
    if node.xattrs.size() > ALL_MAX {
        return Err(Errno::NOSPC.into());
    }
    Ok(true)
}

/// `struct vfs_cap_data` of version 2, or 3 with the user namespace's root. The kernel takes an empty one.
fn is_capability(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let version = value.first_chunk().map(|magic| u32::from_le_bytes(*magic) & 0xff00_0000);
    matches!((version, value.len()), (Some(0x0200_0000), 20) | (Some(0x0300_0000), 24))
}

/// An access list that says no more than the mode is the mode; of one that says more the mode has a part.
fn set_access_list(node: &mut Node, name: &[u8], value: &[u8]) -> io::Result<bool> {
    let entries = if value.is_empty() { Some(Vec::new()) } else { parse(value)? };
    let Some(entries) = entries.filter(|_| !matches!(node.body, Body::Link(_))) else { return Ok(false) };
    if entries.is_empty() {
        node.xattrs.remove(name);
        return Ok(true);
    }
    if name == DEFAULT && !node.is_directory() {
        return Err(Errno::ACCESS.into());
    }
    let (mode, says_more) = meaning(&entries).ok_or(Errno::INVAL)?;
    if name == ACCESS {
        node.mode = node.mode & !0o777 | mode;
    }
    match name == DEFAULT || says_more {
        true => node.xattrs.insert(name, value),
        false => node.xattrs.remove(name),
    }
    Ok(true)
}

/// Who entries are for.
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// Tags and permissions of a list as system calls have it; none of a version that the kernel doesn't know.
fn parse(value: &[u8]) -> io::Result<Option<Vec<(u16, u16)>>> {
    let invalid = || io::Error::from(Errno::INVAL);
    let (version, entries) = value.split_first_chunk::<4>().ok_or_else(invalid)?;
    if u32::from_le_bytes(*version) != 2 {
        return Ok(None);
    }
    if !entries.len().is_multiple_of(8) {
        return Err(invalid());
    }
    let mut list = Vec::with_capacity(entries.len() / 8);
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        match tag {
            USER | GROUP if id == u32::MAX => return Err(invalid()),
            USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER => {}
            _ => return Err(invalid()),
        }
        list.push((tag, u16::from_le_bytes([entry[2], entry[3]])));
    }
    Ok(Some(list))
}

/// The permission bits that a list says, and whether it says more; none if its entries are not in the kernel's order.
fn meaning(entries: &[(u16, u16)]) -> Option<(u32, bool)> {
    let (mut mode, mut mask, mut named, mut last) = (0, None, false, 0);
    for (tag, permissions) in entries {
        let follows = match *tag {
            USER_OBJ => last == 0,
            USER | GROUP_OBJ => matches!(last, USER_OBJ | USER),
            GROUP | MASK => matches!(last, GROUP_OBJ | GROUP),
            _ => last == MASK || (matches!(last, GROUP_OBJ | GROUP) && !named),
        };
        if !follows || *permissions > 7 {
            return None;
        }
        let permissions = u32::from(*permissions);
        match *tag {
            USER_OBJ => mode |= permissions << 6,
            GROUP_OBJ => mode |= permissions << 3,
            OTHER => mode |= permissions,
            MASK => mask = Some(permissions),
            _ => named = true,
        }
        last = *tag;
    }
    if let Some(mask) = mask {
        mode = mode & !0o070 | mask << 3;
    }
    (last == OTHER).then_some((mode, named || mask.is_some()))
}
