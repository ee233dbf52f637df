//! What each byte below the root is for: blocks of the disk, as `du` counts them, what has several names once.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use api::system::DiskShare;

use crate::Engine;
use crate::error::{Context as _, Result};

/// What a byte may be for: each kind with the words for people.
const KINDS: [(&str, &str); 18] = [
    ("layers", "files of images"),
    ("cache-layers", "files that only the build cache keeps"),
    ("blobs", "manifests, configurations and archives of layers"),
    ("containers", "what containers have changed, and their definitions' files"),
    ("logs", "output of containers"),
    ("volumes", "volumes"),
    ("cache-mounts", "directories of RUN --mount=type=cache"),
    ("contexts", "build contexts as clients sent them last"),
    ("file-index", "what is known of the files of contexts"),
    ("builds", "records and logs of builds"),
    ("steps", "locks of build steps"),
    ("ingest", "work in progress and pulls that were given up"),
    ("leases", "who holds on to what"),
    ("quarantine", "what turned out to be damaged"),
    ("database", "definitions and relations"),
    ("events", "what has happened"),
    ("skeleton", "what lies below every container's image"),
    ("other", "the root's own directories, and what is not ours"),
];

/// Every share, none left out that takes something.
pub(super) fn shares(engine: &Engine) -> Result<Vec<DiskShare>> {
    let cache = engine.store().usage()?.cache_only;
    let cache: HashSet<String> = cache.keys().map(|chain| chain.0.hex().to_owned()).collect();
    let root = &engine.config().root;
    let mut disk = Disk { seen: HashSet::new(), bytes: [0; KINDS.len()], files: [0; KINDS.len()], device: 0 };
    let status =
        std::fs::symlink_metadata(root).during(format_args!("look at directory {}", root.display()))?;
    disk.device = status.dev();
    disk.add("other", &status);
    disk.walk(root, &|path| kind(path, &cache));
    let of = |(index, (kind, purpose)): (usize, &(&str, &str))| DiskShare {
        kind: (*kind).to_owned(),
        purpose: (*purpose).to_owned(),
        files: disk.files[index],
        size: disk.bytes[index],
    };
    Ok(KINDS.iter().enumerate().map(of).filter(|share| share.size > 0 || share.files > 0).collect())
}

/// What a path below the root is for.
fn kind(path: &Path, cache: &HashSet<String>) -> &'static str {
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    let first = parts.next().unwrap_or_default();
    let second = parts.next();
    match first.as_ref() {
        "layers" => match second {
            Some(chain) if cache.contains(chain.as_ref()) => "cache-layers",
            _ => "layers",
        },
        // `log` and what it was called before it was rotated.
        "containers" => match parts.next() {
            Some(name) if name == "log" || name.starts_with("log.") => "logs",
            _ => "containers",
        },
        name if name.starts_with("state.db") => "database",
        "events.ndjson" => "events",
        name => KINDS.iter().find(|(kind, _)| *kind == name).map_or("other", |(kind, _)| *kind),
    }
}

struct Disk {
    seen: HashSet<u64>,
    bytes: [i64; KINDS.len()],
    files: [i64; KINDS.len()],
    device: u64,
}

impl Disk {
    fn add(&mut self, kind: &str, status: &std::fs::Metadata) {
        let Some(index) = KINDS.iter().position(|(known, _)| *known == kind) else { return };
        let again = !status.is_dir() && status.nlink() > 1 && !self.seen.insert(status.ino());
        if !again {
            self.bytes[index] += i64::try_from(status.blocks() * 512).unwrap_or(i64::MAX);
            self.files[index] += 1;
        }
    }

    /// What vanishes meanwhile does not count, and neither does what is mounted there.
    fn walk(&mut self, root: &Path, kind: &dyn Fn(&Path) -> &'static str) {
        let mut pending = vec![PathBuf::new()];
        while let Some(directory) = pending.pop() {
            let Ok(entries) = std::fs::read_dir(root.join(&directory)) else { continue };
            // In the order of their names: of several names of a file, the first one's kind counts.
            let mut names: BTreeSet<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            while let Some(name) = names.pop_first() {
                let path = directory.join(name);
                let Ok(status) = std::fs::symlink_metadata(root.join(&path)) else { continue };
                if status.dev() != self.device {
                    continue;
                }
                self.add(kind(&path), &status);
                if status.is_dir() {
                    pending.push(path);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_for_something() {
        let cache = HashSet::from(["abc".to_owned()]);
        for (path, expected) in [
            ("layers/abc/diff/x", "cache-layers"),
            ("layers/abd", "layers"),
            ("layers", "layers"),
            ("blobs/sha256/x", "blobs"),
            ("containers/id/log", "logs"),
            ("containers/id/log.1", "logs"),
            ("containers/id/upper/log", "containers"),
            ("state.db-wal", "database"),
            ("volumes/v/_data/x", "volumes"),
            ("something", "other"),
        ] {
            assert_eq!(kind(Path::new(path), &cache), expected, "{path}");
        }
    }
}
