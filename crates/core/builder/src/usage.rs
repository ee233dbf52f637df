//! What the build cache holds, and taking it away.
//!
//! Removing a record lets go of its layers; [`store::Store::gc`] then frees what nothing else uses.

use crate::error::Error;
use crate::request::Env;
use crate::turn;
use oci::{ChainId, Digest};
use rustix::fs::FlockOperation;
use state::cache;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use sys::root::Root;

/// How long ago a context's index was written that nobody misses.
const FORGOTTEN: Duration = Duration::from_secs(60 * 24 * 3600);
/// Where the kernel lists locks, `MAJOR:MINOR:INODE` among what it says of each.
const LOCKS: &str = "/proc/locks";

/// What a cache entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// The layer of a step.
    Regular,
    /// A directory of `RUN --mount=type=cache`.
    Mount,
    /// A client's context as it was last.
    Context,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Key of the step, or name of the mount's directory.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// The instruction.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was last used, RFC 3339.
    pub used: String,
    /// How often it was used since.
    pub uses: u64,
    /// A build uses it now (mounts).
    pub in_use: bool,
    /// Its layer also belongs to an image.
    pub shared: bool,
    /// All records that stand for this result: a copy is known by the layers and by the content that it read.
    keys: Vec<Digest>,
}

/// What to remove.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Only these, by [`CacheEntry::id`]; none for any.
    pub only: Option<BTreeSet<String>>,
    /// Also what shares its layer with an image.
    pub all: bool,
    /// Only what was not used since, RFC 3339.
    pub unused_since: Option<String>,
    /// Keep this many bytes: what was used longest ago goes first.
    pub keep: Option<u64>,
}

/// Every entry, what was used longest ago first.
pub fn entries(env: &Env) -> Result<Vec<CacheEntry>, Error> {
    let store = |e: store::Error| Error::Store { attempt: "look through layers", source: e.into() };
    let mut of_images: BTreeSet<ChainId> = BTreeSet::new();
    for (_, image) in env.store.images().map_err(store)? {
        if let Ok(image) = image {
            of_images.extend(ChainId::all(&image.config.rootfs.diff_ids));
        }
    }
    let mut entries: Vec<CacheEntry> = Vec::new();
    let mut seen: BTreeMap<(String, Option<ChainId>), usize> = BTreeMap::new();
    for entry in env.db.read(cache::all)? {
        let result = (entry.scope.clone(), entry.chain.clone());
        if let Some(at) = seen.get(&result) {
            entries[*at].keys.push(entry.key);
            entries[*at].used = entry.used;
            entries[*at].uses += entry.uses;
            continue;
        }
        seen.insert(result, entries.len());
        let layer = match &entry.chain {
            Some(chain) => env.store.layer(chain).map_err(store)?,
            None => None,
        };
        entries.push(CacheEntry {
            id: entry.key.to_string(),
            kind: CacheKind::Regular,
            description: entry.scope,
            size: layer.map_or(0, |l| l.size),
            created: entry.created,
            used: entry.used,
            uses: entry.uses,
            in_use: false,
            shared: entry.chain.is_some_and(|c| of_images.contains(&c)),
            keys: vec![entry.key],
        });
    }
    entries.extend(directories(&env.cache_mounts, CacheKind::Mount)?);
    entries.extend(directories(&contexts(env), CacheKind::Context)?);
    entries.sort_by(|a, b| (&a.used, &a.id).cmp(&(&b.used, &b.id)));
    Ok(entries)
}

/// Removes entries; gives those that are gone.
pub fn prune(env: &Env, wanted: &Prune) -> Result<Vec<CacheEntry>, Error> {
    let all = entries(env)?;
    let mut left: u64 = all.iter().map(|e| e.size).sum();
    let mut gone = Vec::new();
    for entry in all {
        let young = wanted.unused_since.as_ref().is_some_and(|since| entry.used.as_str() >= since.as_str());
        let kept = wanted.keep.is_some_and(|keep| left <= keep);
        let other = wanted.only.as_ref().is_some_and(|only| !only.contains(&entry.id));
        if other || young || kept || entry.in_use || (entry.shared && !wanted.all) {
            continue;
        }
        if remove(env, &entry)? {
            left = left.saturating_sub(entry.size);
            gone.push(entry);
        }
    }
    if !gone.is_empty() {
        env.db.write_fleeting(cache::forget_pruned)?;
    }
    forget_files(env, wanted)?;
    Ok(gone)
}

/// What is known of contexts that were not built from for long is of no more use, and with `all` nothing is to stay.
fn forget_files(env: &Env, wanted: &Prune) -> Result<(), Error> {
    let directory = env.store.root().join(crate::session::FILE_INDEX);
    let listed = match std::fs::read_dir(&directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(crate::session::io_error("list", &directory))?,
    };
    for index in listed.flatten() {
        let written = index.metadata().and_then(|status| status.modified());
        let old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > FORGOTTEN));
        if wanted.all || old {
            // Another collection may have been first.
            let _ = std::fs::remove_file(index.path());
        }
    }
    Ok(())
}

fn remove(env: &Env, entry: &CacheEntry) -> Result<bool, Error> {
    match entry.kind {
        CacheKind::Regular => {
            let now = crate::step::timestamp();
            let gone = env.db.write(|tx| {
                // So that the next build can say why it does not know the step.
                cache::put_pruned(tx, &entry.description, &now)?;
                entry
                    .keys
                    .iter()
                    .try_fold(false, |gone, key| Ok::<_, state::Error>(cache::remove(tx, key)? || gone))
            })?;
            Ok(gone)
        }
        CacheKind::Mount => remove_directory(&env.cache_mounts, &entry.id),
        CacheKind::Context => remove_directory(&contexts(env), &entry.id),
    }
}

fn remove_directory(base: &Path, name: &str) -> Result<bool, Error> {
    // Held while the directory goes, so that no build begins to use it.
    let Some(_lock) = exclusive(base, name)? else { return Ok(false) };
    let failed = |e| crate::session::io_error("remove", &base.join(name))(e);
    Root::open(base).and_then(|root| root.remove_all(name)).map_err(failed)?;
    // An empty file that stays does no harm; the next build takes it.
    let _ = std::fs::remove_file(turn::lock_of(base, name));
    Ok(true)
}

fn contexts(env: &Env) -> PathBuf {
    env.store.root().join(crate::mirror::DIRECTORY)
}

fn exclusive(base: &Path, name: &str) -> Result<Option<std::fs::File>, Error> {
    turn::lock(base, &turn::lock_of(base, name), FlockOperation::NonBlockingLockExclusive)
}

/// Directories with a lock beside each.
fn directories(base: &Path, kind: CacheKind) -> Result<Vec<CacheEntry>, Error> {
    let listed = match std::fs::read_dir(base) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(crate::session::io_error("list", base))?,
    };
    let locked = locked().map_err(crate::session::io_error("read", LOCKS.as_ref()))?;
    let in_use = |name: &str| {
        std::fs::metadata(turn::lock_of(base, name)).is_ok_and(|lock| locked.contains(&lock.ino()))
    };
    let mut found = Vec::new();
    for entry in listed.flatten() {
        let Ok(status) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if !status.is_dir() {
            continue;
        }
        let used = status.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let used = jiff::Timestamp::try_from(used).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string();
        found.push(CacheEntry {
            in_use: in_use(&name),
            size: size(&entry.path()),
            kind,
            description: match kind {
                CacheKind::Mount => told(base, &name),
                _ => "local source".to_owned(),
            },
            created: used.clone(),
            used,
            uses: 0,
            shared: false,
            keys: Vec::new(),
            id: name,
        });
    }
    Ok(found)
}

/// What a cache mount is for: its lock says so since it was made.
fn told(base: &Path, name: &str) -> String {
    let told = std::fs::read(turn::lock_of(base, name)).unwrap_or_default();
    match told.is_empty() {
        true => "cache mount".to_owned(),
        false => String::from_utf8_lossy(&told).into_owned(),
    }
}

/// The inodes of all files that are locked. Whoever takes a lock to see whether it is free keeps a build from it meanwhile, which then
/// makes do with another directory.
fn locked() -> std::io::Result<BTreeSet<u64>> {
    let inode =
        |line: &str| line.split_whitespace().find_map(|word| word.splitn(3, ':').nth(2)?.parse().ok());
    Ok(std::fs::read_to_string(LOCKS)?.lines().filter_map(inode).collect())
}

/// Bytes of the files below; what vanishes meanwhile does not count.
fn size(dir: &Path) -> u64 {
    let Ok(root) = Root::open(dir) else { return 0 };
    let tree =
        crate::files::walk::Tree { root: &root, ignore: None, is_context: false, cancelled: &|| false };
    let items = tree.walk(Path::new("")).unwrap_or_default();
    items.iter().map(|i| i.stat.size).sum()
}
