//! Digests of what a `COPY` reads: names, types, modes, owners, contents and the extended attributes that are carried over,
//! but no times, so that a fresh checkout of the same files is the same thing.

use super::copy::carried_xattrs;
use super::walk::{Item, Tree};
use super::{Error, io};
use oci::Digest;
use rustix::fs::{FileType, Stat};
use sha2::{Digest as _, Sha256};
use state::Db;
use state::files::{self, Stamp};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Files that changed more recently than this may change again without a new time.
const SETTLED: Duration = Duration::from_secs(2);

/// The digest of every entry, by its path in the tree.
pub fn entries(tree: &Tree<'_>, items: &[Item], db: &Db) -> Result<BTreeMap<String, String>, Error> {
    let stamps: Vec<Option<Stamp>> = items.iter().map(stamp).collect();
    let mut known: Vec<Option<Digest>> = db.read(|tx| {
        stamps.iter().map(|s| s.as_ref().map_or(Ok(None), |s| files::get(tx, s))).collect::<Result<_, _>>()
    })?;
    let mut fresh = Vec::new();
    let mut out = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        let content = match (&stamps[i], known[i].take()) {
            (None, _) => None,
            (Some(_), Some(digest)) => Some(digest),
            (Some(stamp), None) => {
                let digest = with_xattrs(tree, &item.path, content(tree, &item.path)?);
                fresh.push((*stamp, digest.clone()));
                Some(digest)
            }
        };
        out.insert(format!("/{}", item.path.display()), entry(tree, item, content.as_ref()));
    }
    remember(db, &fresh)?;
    Ok(out)
}

fn remember(db: &Db, fresh: &[(Stamp, Digest)]) -> Result<(), Error> {
    let limit = SystemTime::now().checked_sub(SETTLED).unwrap_or(SystemTime::UNIX_EPOCH);
    let limit = limit.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
    let settled: Vec<_> = fresh.iter().filter(|(s, _)| s.mtime < limit && s.ctime < limit).collect();
    if settled.is_empty() {
        return Ok(());
    }
    let now = jiff::Timestamp::now().to_string();
    db.write_fleeting(|tx| {
        settled.iter().try_for_each(|(stamp, digest)| files::put(tx, stamp, digest, &now))
    })?;
    Ok(())
}

/// What a regular file's content is known by.
fn stamp(item: &Item) -> Option<Stamp> {
    (item.kind == FileType::RegularFile).then(|| self::stamp_of(&item.stat))
}

/// The stamp of a status.
pub fn stamp_of(stat: &Stat) -> Stamp {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stamp {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: stat.st_size as u64,
        mtime: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
        ctime: nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
    }
}

fn content(tree: &Tree<'_>, path: &Path) -> Result<Digest, Error> {
    let mut file = tree.root.open_file(path).map_err(io("open", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        if (tree.cancelled)() {
            return Err(Error::Cancelled);
        }
        match file.read(&mut buffer).map_err(io("read", path))? {
            0 => return Ok(Digest::from_sha256(hash.finalize().into())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// A digest of the content and of the attributes; the content's own where there are none, which is nearly always. Setting
/// an attribute moves the time of change, so a stamp stands for both.
fn with_xattrs(tree: &Tree<'_>, path: &Path, content: Digest) -> Digest {
    let attributes = carried_xattrs(tree, path);
    if attributes.is_empty() {
        return content;
    }
    let mut hash = Sha256::new_with_prefix(content.to_string());
    for (name, value) in attributes {
        for part in [name.as_bytes(), &value] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Digest::from_sha256(hash.finalize().into())
}

/// One entry as text, everything that COPY carries over in it.
fn entry(tree: &Tree<'_>, item: &Item, content: Option<&Digest>) -> String {
    let stat = &item.stat;
    let mode = stat.st_mode & 0o7777;
    let owner = if tree.is_context { String::new() } else { format!(" {}:{}", stat.st_uid, stat.st_gid) };
    match item.kind {
        FileType::RegularFile => {
            format!("file {mode:o}{owner} {}", content.map_or_else(String::new, ToString::to_string))
        }
        FileType::Directory => {
            let empty = Digest::sha256(b"");
            match with_xattrs(tree, &item.path, empty.clone()) {
                same if same == empty => format!("dir {mode:o}{owner}"),
                attributes => format!("dir {mode:o}{owner} {attributes}"),
            }
        }
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
        let mut grouped: BTreeMap<String, Sha256> = BTreeMap::new();
        for (path, digest) in &out {
            let cut = path.match_indices('/').nth(depth).map_or(path.len(), |(i, _)| i);
            let hash = grouped.entry(path[..cut].to_string()).or_default();
            hash.update(path.as_bytes());
            hash.update([0]);
            hash.update(digest.as_bytes());
            hash.update([0]);
        }
        let text = |hash: Sha256| Digest::from_sha256(hash.finalize().into()).to_string();
        out = grouped.into_iter().map(|(path, hash)| (path, text(hash))).collect();
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
