//! What one container sees: the networks that it is in, as their files are now.
//!
//! Each look lists the folder and compares what identifies a file's contents, so that a change is seen by the next
//! question; only changed files are read. Of networks without the container nothing is kept but that.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::endpoints::{self, Network};

/// The networks of one container.
#[derive(Debug)]
pub struct View {
    dir: PathBuf,
    container: String,
    files: BTreeMap<PathBuf, Seen>,
    /// By name.
    networks: Vec<Network>,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    network: Option<Network>,
}

/// A file that was replaced has another one.
type Stamp = (u64, i64, i64, u64);

fn stamp(meta: &Metadata) -> Stamp {
    (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size())
}

impl View {
    /// Of a container, from the files in a folder.
    pub fn new(dir: &Path, container: &str) -> View {
        View {
            dir: dir.to_owned(),
            container: container.to_owned(),
            files: BTreeMap::new(),
            networks: Vec::new(),
        }
    }

    /// Looks anew; the networks by name.
    pub fn networks(&mut self) -> &[Network] {
        let mut found = BTreeMap::new();
        let mut changed = false;
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if endpoints::network_of(&path).is_none() {
                continue;
            }
            // One that has gone meanwhile is as one that was not there.
            let Ok(meta) = entry.metadata() else { continue };
            let seen = match self.files.remove(&path) {
                Some(seen) if seen.stamp == stamp(&meta) => seen,
                old => {
                    let network = self.read(&path);
                    changed |= network.is_some() || old.is_some_and(|old| old.network.is_some());
                    Seen { stamp: stamp(&meta), network }
                }
            };
            found.insert(path, seen);
        }
        changed |= self.files.values().any(|gone| gone.network.is_some());
        self.files = found;
        if changed {
            self.networks = self.files.values().filter_map(|seen| seen.network.clone()).collect();
            self.networks.sort_by(|a, b| a.name.cmp(&b.name));
        }
        &self.networks
    }

    /// A file that cannot be read is as one without the container: its engine has been told, or is a later one.
    fn read(&self, path: &Path) -> Option<Network> {
        let network = endpoints::read(path).ok().flatten()?;
        network.endpoints.iter().any(|endpoint| endpoint.container == self.container).then_some(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::{Endpoint, VERSION, write};

    fn network(name: &str, containers: &[&str]) -> Network {
        let endpoint = |container: &&str| Endpoint { container: (*container).into(), ..Endpoint::default() };
        let endpoints = containers.iter().map(endpoint).collect();
        Network { version: VERSION, name: name.into(), internal: false, endpoints }
    }

    #[test]
    fn changes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut view = View::new(&dir.path().join("none"), "a");
        assert!(view.networks().is_empty());
        let mut view = View::new(dir.path(), "a");
        let mut names = || view.networks().iter().map(|n| n.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(), "");
        write(dir.path(), "1", Some(&network("two", &["a", "b"]))).unwrap();
        write(dir.path(), "2", Some(&network("one", &["c", "a"]))).unwrap();
        write(dir.path(), "3", Some(&network("other", &["b"]))).unwrap();
        std::fs::write(dir.path().join("4.new"), "{").unwrap();
        std::fs::write(dir.path().join("5.endpoints"), "{").unwrap();
        assert_eq!(names(), "one two");
        write(dir.path(), "1", Some(&network("two", &["b"]))).unwrap();
        write(dir.path(), "3", Some(&network("other", &["b", "a"]))).unwrap();
        assert_eq!(names(), "one other");
        write(dir.path(), "2", None).unwrap();
        assert_eq!(names(), "other");
        assert_eq!(names(), "other");
    }
}
