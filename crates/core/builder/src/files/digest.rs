//! Digests of what a `COPY` reads: names, types, modes, owners, contents and the extended attributes that are carried over,
//! but no times, so that a fresh checkout of the same files is the same thing.

use super::copy::carried_xattrs;
use super::index::{Index, Stamp, Sum};
use super::walk::{Item, Tree};
use super::{Error, io, open_to_read};
use oci::Digest;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Threads that read files at most.
const THREADS: usize = 4;
/// Files that are worth another thread.
const SHARE: usize = 16;
/// Bytes that are worth another thread.
const BULK: u64 = 4 << 20;
const BUFFER: usize = 256 << 10;
/// Bytes of what is said of entries that are hashed at once.
const NOTES: usize = 16 << 10;

/// What is known of the contents of these entries without reading them.
pub fn known(items: &[Item], index: Option<&Index>) -> Vec<Option<Sum>> {
    let get =
        |item: &Item| index.filter(|_| is_file(item)).and_then(|index| index.get(&item.path, &item.stat));
    items.iter().map(get).collect()
}

fn is_file(item: &Item) -> bool {
    item.kind == FileType::RegularFile
}

/// Reads the files whose digest is missing. `steady` becomes false if a file is not any more what it was when it was listed.
pub fn fill(
    tree: &Tree<'_>,
    items: &[Item],
    sums: &mut [Option<Sum>],
    index: Option<&Index>,
    steady: &mut bool,
) -> Result<(), Error> {
    let unknown: Vec<usize> =
        (0..items.len()).filter(|i| is_file(&items[*i]) && sums[*i].is_none()).collect();
    for (i, sum, same) in read(tree, items, &unknown, index)? {
        sums[i] = Some(sum);
        *steady &= same;
    }
    Ok(())
}

/// A file's number, its digest, and whether its status was the same afterwards.
type Done = (usize, Sum, bool);

/// Reads these files, side by side if there are many.
fn read(
    tree: &Tree<'_>,
    items: &[Item],
    unknown: &[usize],
    index: Option<&Index>,
) -> Result<Vec<Done>, Error> {
    let bytes: u64 = unknown.iter().map(|i| items[*i].stat.size).sum();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let worth = (unknown.len() / SHARE).max((bytes / BULK) as usize);
    let threads = processors.min(THREADS).min(unknown.len()).min(worth).max(1);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Done>, Error> {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        while let Some(i) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            let item = &items[*i];
            let begun = SystemTime::now();
            let (sum, after) = content(tree, &item.path, &mut buffer)?;
            let same = after == Stamp::of(&item.stat);
            if let Some(index) = index.filter(|_| same) {
                index.learn(&item.path, &item.stat, begun, sum);
            }
            done.push((*i, sum, same));
        }
        Ok(done)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// The digest of a file and its attributes, and its stamp when it was read.
fn content(tree: &Tree<'_>, path: &Path, buffer: &mut [u8]) -> Result<(Sum, Stamp), Error> {
    let open = |flags| {
        let opened = tree.root.open_with(path, flags, Mode::empty());
        opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    let mut file = open_to_read(open).map_err(io("open", path))?;
    let mut hash = blake3::Hasher::new();
    loop {
        if (tree.cancelled)() {
            return Err(Error::Cancelled);
        }
        match file.read(buffer).map_err(io("read", path))? {
            0 => break,
            n => hash.update(&buffer[..n]),
        };
    }
    let stat = rustix::fs::fstat(&file).map_err(|e| io("stat", path)(e.into()))?;
    // Nearly no file has any: one call tells.
    let has_attributes = rustix::fs::flistxattr_query(&file).unwrap_or(0) > 0;
    let sum = *hash.finalize().as_bytes();
    Ok((if has_attributes { with_xattrs(tree, path, sum) } else { sum }, Stamp::from(&stat)))
}

/// A digest of the content and of the attributes; the content's own where there are none. Setting an attribute moves the
/// time of change, so a stamp stands for both.
pub(super) fn with_xattrs(tree: &Tree<'_>, path: &Path, content: Sum) -> Sum {
    let attributes = carried_xattrs(tree.root, path);
    if attributes.is_empty() {
        return content;
    }
    let mut hash = blake3::Hasher::new();
    hash.update(&content);
    for (name, value) in attributes {
        for part in [name.as_bytes(), &value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    *hash.finalize().as_bytes()
}

fn hex(sum: &Sum) -> String {
    blake3::Hash::from_bytes(*sum).to_hex().to_string()
}

/// One entry as text, everything that COPY carries over in it.
fn entry(tree: &Tree<'_>, item: &Item, content: Option<&Sum>) -> String {
    let stat = &item.stat;
    let mode = stat.mode & 0o7777;
    let owner = if tree.is_context { String::new() } else { format!(" {}:{}", stat.uid, stat.gid) };
    let nothing = || *blake3::hash(b"").as_bytes();
    match item.kind {
        FileType::Socket if tree.is_context => format!("file {mode:o}{owner} {}", hex(&nothing())),
        FileType::RegularFile => {
            format!("file {mode:o}{owner} {}", content.map_or_else(String::new, hex))
        }
        FileType::Directory if item.is_plain => format!("dir {mode:o}{owner}"),
        FileType::Directory => match with_xattrs(tree, &item.path, Sum::default()) {
            none if none == Sum::default() => format!("dir {mode:o}{owner}"),
            attributes => format!("dir {mode:o}{owner} {}", hex(&attributes)),
        },
        FileType::Symlink => {
            let target = item.target.as_deref().unwrap_or(Path::new(""));
            format!("link{owner} {}", Digest::sha256(target.as_os_str().as_bytes()))
        }
        other => format!("{other:?} {mode:o}{owner} {:x}", stat.rdev),
    }
}

/// Entries with the digests of their contents, by path: one by one, or whole directories where there are more than `limit`.
pub fn lines<'i>(
    tree: &Tree<'_>,
    entries: impl Iterator<Item = (&'i Item, Option<&'i Sum>)> + Clone,
    limit: usize,
) -> BTreeMap<String, String> {
    let count = entries.clone().count();
    if count <= limit {
        return entries.map(|(item, sum)| (named(&item.path), entry(tree, item, sum))).collect();
    }
    let depth = depth(entries.clone().map(|(item, _)| item.path.as_path()), limit);
    let mut groups: BTreeMap<&Path, blake3::Hasher> = BTreeMap::new();
    // A hash is fast where it gets much at once.
    let mut open: Option<(&Path, Vec<u8>)> = None;
    let mut close = |path, bytes: &mut Vec<u8>| {
        groups.entry(path).or_default().update(bytes);
        bytes.clear();
    };
    for (item, sum) in entries {
        let group = prefix(&item.path, depth);
        let (path, bytes) = open.get_or_insert_with(|| (group, Vec::with_capacity(2 * NOTES)));
        if *path != group || bytes.len() >= NOTES {
            close(*path, bytes);
            *path = group;
        }
        note(tree, item, sum, bytes);
    }
    if let Some((path, mut bytes)) = open {
        close(path, &mut bytes);
    }
    let text = |hash: blake3::Hasher| hash.finalize().to_hex().to_string();
    groups.into_iter().map(|(path, hash)| (named(path), text(hash))).collect()
}

/// What a path is called in a key. A name that is no text is followed by its bytes, behind what no name has: others are shown like it.
pub fn named(path: &Path) -> String {
    match path.to_str() {
        Some(text) => format!("/{text}"),
        None => {
            let hex = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}"));
            format!("/{}\0{}", path.display(), hex.collect::<String>())
        }
    }
}

/// One entry of a group: what [`entry`] says of it, and where it is.
fn note(tree: &Tree<'_>, item: &Item, sum: Option<&Sum>, bytes: &mut Vec<u8>) {
    let path = item.path.as_os_str().as_bytes();
    bytes.extend((path.len() as u64).to_le_bytes());
    bytes.extend(path);
    let is_socket = tree.is_context && item.kind == FileType::Socket;
    let sum = if is_socket { Some(*blake3::hash(b"").as_bytes()) } else { sum.copied() };
    match (item.kind, sum) {
        (FileType::RegularFile | FileType::Socket, Some(sum)) => {
            let owner = if tree.is_context { (0, 0) } else { (item.stat.uid, item.stat.gid) };
            bytes.push(b'f');
            for field in [item.stat.mode & 0o7777, owner.0, owner.1] {
                bytes.extend(field.to_le_bytes());
            }
            bytes.extend(sum);
        }
        _ => {
            let text = entry(tree, item, sum.as_ref());
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
    }
}

/// The most components of paths by which these make no more groups than that; at least one.
fn depth<'p>(paths: impl Iterator<Item = &'p Path> + Clone, limit: usize) -> usize {
    let deepest =
        paths.clone().map(|path| path.as_os_str().as_bytes().iter().filter(|b| **b == b'/').count() + 1);
    let mut depth = deepest.max().unwrap_or(1);
    while depth > 1 {
        depth -= 1;
        let mut groups = 0;
        let mut last = None;
        for path in paths.clone() {
            let group = prefix(path, depth);
            groups += usize::from(last != Some(group));
            last = Some(group);
        }
        if groups <= limit {
            break;
        }
    }
    depth
}

/// The first components of a path.
fn prefix(path: &Path, components: usize) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let slash = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(components - 1);
    slash.map_or(path, |(at, _)| Path::new(OsStr::from_bytes(&bytes[..at])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::root::Root;

    #[test]
    fn a_summary_still_tells_trees_apart() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..300 {
            std::fs::create_dir_all(dir.path().join(format!("src/{}", i % 10))).unwrap();
            std::fs::write(dir.path().join(format!("src/{}/{i}", i % 10)), "x").unwrap();
        }
        std::fs::write(dir.path().join("top"), "x").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| false };
        let items = tree.walk(Path::new("")).unwrap();
        let make = |change: &str, limit: usize| {
            let sum = |item: &Item| Some([u8::from(item.path == Path::new(change)); 32]);
            let sums: Vec<Option<Sum>> = items.iter().map(sum).collect();
            lines(&tree, items.iter().zip(sums.iter().map(Option::as_ref)), limit)
        };
        let (a, b) = (make("", 100), make("src/7/7", 100));
        assert_eq!(a.len(), 13, "{:?}", a.keys());
        let differs: Vec<_> =
            a.iter().filter(|(k, v)| b.get(*k) != Some(v)).map(|(k, _)| k.as_str()).collect();
        assert_eq!(differs, ["/src/7"]);
        let single = make("top", 100);
        assert_eq!(a.iter().filter(|(k, v)| single.get(*k) != Some(v)).count(), 1);
        assert_eq!(make("", 2000).len(), items.len());
        assert_eq!(make("", 2).len(), 3, "a directory at the top can't be told in less");
    }

    #[test]
    fn names_that_are_no_text_are_told_apart() {
        let name = |bytes: &[u8]| named(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(name(b"a/b"), "/a/b");
        assert_ne!(name(b"a\xfe"), name(b"a\xff"));
        assert_ne!(name(b"a\xff"), name("a\u{fffd}".as_bytes()));
    }
}
