//! What a `COPY` made, noted beside its layer: the next one of the same step shares what is the same, and can say which file
//! is not.
//!
//! ```text
//! "dhow layer 1\n"
//! an entry each, in the order of the archive:
//!     length of the path in the layer, of the source's path, of the target (u32 each); kind (u8)
//!     mode, user, group (u32), seconds, nanoseconds, size (i64), digest (32 bytes)
//!     the path, the source's path, the target
//! BLAKE3 of all before (32 bytes)
//! ```
//!
//! In the machine's own byte order: it never leaves the machine. Who finds it damaged does without.

use super::index::Sum;
use super::plan::{Content, Meta, Node};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAGIC: &[u8] = b"dhow layer 1\n";
const DIGEST: usize = 32;
/// Bytes that are written at once.
const PIECE: usize = 64 << 10;
/// Fixed bytes of an entry before its texts.
const FIELDS: usize = 3 * 4 + 1 + 3 * 4 + 3 * 8 + DIGEST;

/// One entry of a layer that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'b> {
    /// Path in the layer.
    pub path: &'b Path,
    /// What it was copied from; empty for directories on the way.
    pub source: &'b Path,
    kind: u8,
    meta: Meta,
    size: u64,
    sum: Sum,
    /// What a link says.
    target: &'b Path,
}

impl<'b> Entry<'b> {
    /// The entry of a node whose file has this digest.
    pub fn of(node: &'b Node<'_>, sum: Option<&Sum>) -> Self {
        let (kind, target) = match &node.content {
            Content::Directory => (b'd', Path::new("")),
            Content::File => (b'f', Path::new("")),
            Content::Symlink => {
                (b'l', node.source.and_then(|(_, item)| item.target.as_deref()).unwrap_or(Path::new("")))
            }
            Content::Hardlink(first) => (b'h', first.as_path()),
        };
        Self {
            path: &node.path,
            source: node.source.map_or(Path::new(""), |(_, item)| &item.path),
            kind,
            meta: node.meta,
            size: node.size(),
            sum: sum.copied().unwrap_or_default(),
            target,
        }
    }

    /// Whether both are the same thing in a layer, wherever they were copied from.
    pub fn is_same(&self, other: &Entry<'_>) -> bool {
        (self.kind, self.meta, self.size, self.sum, self.target)
            == (other.kind, other.meta, other.size, other.sum, other.target)
    }

    /// Whether one can take the other's place without a directory between that would be merged or hidden.
    pub fn is_same_kind(&self, other: &Entry<'_>) -> bool {
        (self.kind == b'd') == (other.kind == b'd')
    }

    /// Whether the source had another mode or content.
    fn reads_otherwise(&self, other: &Entry<'_>) -> bool {
        (self.kind, self.meta.mode, self.meta.owner, self.size, self.sum, self.target)
            != (other.kind, other.meta.mode, other.meta.owner, other.size, other.sum, other.target)
    }
}

/// Writes these entries, a few at a time: there may be a hundred thousand.
pub fn write<'e>(entries: impl Iterator<Item = Entry<'e>>, sink: &mut dyn Write) -> io::Result<()> {
    let mut hash = blake3::Hasher::new();
    let mut bytes = MAGIC.to_vec();
    for entry in entries {
        if bytes.len() >= PIECE {
            hash.update(&bytes);
            sink.write_all(&bytes)?;
            bytes.clear();
        }
        let texts = [entry.path, entry.source, entry.target].map(|path| path.as_os_str().as_bytes());
        for text in texts {
            bytes.extend((text.len() as u32).to_ne_bytes());
        }
        bytes.push(entry.kind);
        for number in [entry.meta.mode, entry.meta.owner.0, entry.meta.owner.1] {
            bytes.extend(number.to_ne_bytes());
        }
        for number in [entry.meta.modified.0, entry.meta.modified.1, entry.size as i64] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(entry.sum);
        texts.iter().for_each(|text| bytes.extend(*text));
    }
    hash.update(&bytes);
    bytes.extend(hash.finalize().as_bytes());
    sink.write_all(&bytes)
}

/// None if anything about it is wrong.
pub fn decode(bytes: &[u8]) -> Option<Entries<'_>> {
    let (bytes, sum) = bytes.split_last_chunk::<DIGEST>()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let entries = Entries { rest };
    let is_whole = || {
        let mut left = entries;
        while left.next().is_some() {}
        left.rest.is_empty()
    };
    (blake3::hash(bytes) == blake3::Hash::from_bytes(*sum) && is_whole()).then_some(entries)
}

/// The entries of a listing, taken out of its bytes as they are asked for: there may be a hundred thousand. A copy is a place among
/// them.
#[derive(Clone, Copy)]
pub struct Entries<'b> {
    rest: &'b [u8],
}

impl<'b> Entries<'b> {
    fn take(&mut self) -> Option<Entry<'b>> {
        let (fields, mut rest) = self.rest.split_at_checked(FIELDS)?;
        let (mut entry, lengths) = fixed(fields)?;
        for (length, text) in lengths.into_iter().zip([&mut entry.path, &mut entry.source, &mut entry.target])
        {
            let (bytes, after) = rest.split_at_checked(length)?;
            *text = Path::new(OsStr::from_bytes(bytes));
            rest = after;
        }
        self.rest = rest;
        Some(entry)
    }

    /// The entries that were copied, by their sources, as places.
    fn by_source(mut self) -> HashMap<&'b Path, Entries<'b>> {
        let mut all = HashMap::new();
        loop {
            let place = self;
            match self.next() {
                Some(entry) if is_copied(&entry) => drop(all.insert(entry.source, place)),
                Some(_) => {}
                None => return all,
            }
        }
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Entry<'b>;

    fn next(&mut self) -> Option<Entry<'b>> {
        self.take()
    }
}

fn is_copied(entry: &Entry<'_>) -> bool {
    !entry.source.as_os_str().is_empty()
}

/// The fields of fixed length, and the lengths of the texts.
fn fixed(fields: &[u8]) -> Option<(Entry<'static>, [usize; 3])> {
    let word = |at: usize| fields[at..].first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let long = |at: usize| fields[at..].first_chunk().map(|bytes| i64::from_ne_bytes(*bytes));
    let meta = Meta { mode: word(13)?, owner: (word(17)?, word(21)?), modified: (long(25)?, long(33)?) };
    let none = Path::new("");
    let entry = Entry {
        path: none,
        source: none,
        kind: fields[12],
        meta,
        size: long(41)? as u64,
        sum: *fields.last_chunk()?,
        target: none,
    };
    Some((entry, [word(0)? as usize, word(4)? as usize, word(8)? as usize]))
}

/// What was read otherwise than when the old entries were made, as a person would say it.
pub fn differences<'e>(old: Entries<'_>, new: impl Iterator<Item = Entry<'e>>) -> Vec<String> {
    let mut before = old.by_source();
    let mut found = Vec::new();
    for entry in new.filter(is_copied) {
        match before.remove(entry.source).and_then(|mut place| place.next()) {
            None => found.push(format!("file /{} is new", entry.source.display())),
            Some(old) if entry.reads_otherwise(&old) => {
                found.push(format!("file /{} changed", entry.source.display()));
            }
            Some(_) => {}
        }
    }
    let mut gone: Vec<&Path> = before.into_keys().collect();
    gone.sort();
    found.extend(gone.iter().map(|path| format!("file /{} is gone", path.display())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'e>(path: &'e str, source: &'e str, sum: u8) -> Entry<'e> {
        Entry {
            path: Path::new(path),
            source: Path::new(source),
            kind: b'f',
            meta: Meta { mode: 0o4755, owner: (7, 8), modified: (-3, 999_999_999) },
            size: 1 << 40,
            sum: [sum; 32],
            target: Path::new("where"),
        }
    }

    #[test]
    fn what_was_written_is_read_and_damage_is_seen() {
        let entries = [entry("app/a", "a", 1), entry("app/b", "", 2)];
        let mut bytes = Vec::new();
        write(entries.iter().copied(), &mut bytes).unwrap();
        assert_eq!(decode(&bytes).unwrap().collect::<Vec<_>>(), entries);
        for damage in 0..bytes.len() {
            let mut other = bytes.clone();
            other[damage] ^= 0x11;
            assert!(decode(&other).is_none() && decode(&bytes[..damage]).is_none(), "{damage}");
        }
    }

    #[test]
    fn differences_name_the_sources() {
        let old = [entry("x/a", "a", 1), entry("x/b", "b", 1), entry("x/c", "c", 1), entry("x", "", 1)];
        let new = [entry("y/a", "a", 1), entry("y/b", "b", 2), entry("y/d", "d", 1), entry("y", "", 2)];
        let mut bytes = Vec::new();
        write(old.iter().copied(), &mut bytes).unwrap();
        let found = differences(decode(&bytes).unwrap(), new.into_iter());
        assert_eq!(found, ["file /b changed", "file /d is new", "file /c is gone"]);
    }
}
