//! Digests of what a `COPY` reads: names, types, modes, owners, contents and the extended attributes that are carried over,
//! but no times, so that a fresh checkout of the same files is the same thing.

use super::copy::carried_xattrs;
use super::index::{Index, Stamp, Sum};
use super::walk::{Item, Tree};
use super::{Error, io};
use oci::Digest;
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
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

/// The digest of every entry, by its path in the tree. `steady` becomes false if a file is not any more what it was when it
/// was listed.
pub fn entries(
    tree: &Tree<'_>,
    items: &[Item],
    index: Option<&Index>,
    steady: &mut bool,
) -> Result<BTreeMap<String, String>, Error> {
    let is_file = |item: &Item| item.kind == FileType::RegularFile;
    let mut sums: Vec<Option<Sum>> = items
        .iter()
        .map(|item| index.filter(|_| is_file(item)).and_then(|index| index.get(&item.path, &item.stat)))
        .collect();
    let unknown: Vec<usize> =
        (0..items.len()).filter(|i| is_file(&items[*i]) && sums[*i].is_none()).collect();
    for (i, sum, same) in read(tree, items, &unknown, index)? {
        sums[i] = Some(sum);
        *steady &= same;
    }
    let line = |(item, sum): (&Item, &Option<Sum>)| {
        (format!("/{}", item.path.display()), entry(tree, item, sum.as_ref()))
    };
    Ok(items.iter().zip(&sums).map(line).collect())
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
    let bytes: u64 = unknown.iter().map(|i| items[*i].stat.st_size as u64).sum();
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
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = File::from(tree.root.open_with(path, flags, Mode::empty()).map_err(io("open", path))?);
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
    Ok((if has_attributes { with_xattrs(tree, path, sum) } else { sum }, Stamp::of(&stat)))
}

/// A digest of the content and of the attributes; the content's own where there are none. Setting an attribute moves the
/// time of change, so a stamp stands for both.
fn with_xattrs(tree: &Tree<'_>, path: &Path, content: Sum) -> Sum {
    let attributes = carried_xattrs(tree, path);
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
    let mode = stat.st_mode & 0o7777;
    let owner = if tree.is_context { String::new() } else { format!(" {}:{}", stat.st_uid, stat.st_gid) };
    match item.kind {
        FileType::RegularFile => {
            format!("file {mode:o}{owner} {}", content.map_or_else(String::new, hex))
        }
        FileType::Directory => match with_xattrs(tree, &item.path, Sum::default()) {
            none if none == Sum::default() => format!("dir {mode:o}{owner}"),
            attributes => format!("dir {mode:o}{owner} {}", hex(&attributes)),
        },
        FileType::Symlink => {
            let target = item.target.as_deref().unwrap_or(Path::new(""));
            format!("link{owner} {}", Digest::sha256(target.as_os_str().as_bytes()))
        }
        other => format!("{other:?} {mode:o}{owner} {:x}", stat.st_rdev),
    }
}

/// Fewer lines about the same thing: whole directories where there are more files than anybody reads.
pub fn summarise(entries: BTreeMap<String, String>, limit: usize) -> BTreeMap<String, String> {
    let mut depth = entries.keys().map(|k| k.matches('/').count()).max().unwrap_or(0);
    let mut out = entries;
    while out.len() > limit && depth > 1 {
        depth -= 1;
        let mut grouped: BTreeMap<&str, blake3::Hasher> = BTreeMap::new();
        for (path, digest) in &out {
            let cut = path.match_indices('/').nth(depth).map_or(path.len(), |(i, _)| i);
            let hash = grouped.entry(&path[..cut]).or_default();
            for part in [path, digest] {
                hash.update(part.as_bytes());
                hash.update(&[0]);
            }
        }
        let text = |hash: blake3::Hasher| hash.finalize().to_hex().to_string();
        out = grouped.into_iter().map(|(path, hash)| (path.to_owned(), text(hash))).collect();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_still_tells_trees_apart() {
        let make = |change: usize| -> BTreeMap<String, String> {
            (0..1000)
                .map(|i| (format!("/src/{}/{i}", i % 10), format!("{}", i + usize::from(i == change))))
                .collect()
        };
        let (a, b) = (summarise(make(5000), 100), summarise(make(7), 100));
        assert_eq!(a.len(), 10);
        let differs: Vec<_> =
            a.iter().filter(|(k, v)| b.get(*k) != Some(v)).map(|(k, _)| k.as_str()).collect();
        assert_eq!(differs, ["/src/7"]);
        assert_eq!(summarise(make(1), 2000).len(), 1000);
    }
}
