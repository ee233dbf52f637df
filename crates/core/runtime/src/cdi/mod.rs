//! Devices by the names that their vendors give them: the Container Device Interface
//! (github.com/cncf-tags/container-device-interface, SPEC.md 1.1.0). A vendor's file says what of an OCI document a
//! device changes: variables, nodes, mounts, hooks, groups.
//!
//! The files are read when a device is asked for, and never otherwise. One that is wrong spoils no other: it is a
//! [`Problem`], told when what is asked for is not found. Nothing here touches the kernel but for looking at device nodes.

mod document;
mod edits;
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use document::{Document, Edits};
use oci::runtime::Spec;

/// Where vendors' files lie; what stands later takes the place of what stands earlier.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A file, or a directory, that tells of no devices as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub path: PathBuf,
    pub reason: String,
}

/// Devices that can't be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody describes them, or those who do contradict each other; with what is wrong with the files.
    #[error("unresolvable CDI devices {}{}", names.join(", "), told(problems))]
    Unresolvable { names: Vec<String>, problems: Vec<Problem> },
    /// A node of the machine that a device consists of.
    #[error("CDI device node {}", path.display())]
    Node { path: PathBuf, source: std::io::Error },
    /// A node that is something else than its vendor says.
    #[error("CDI device node {}: {reason}", path.display())]
    Unfit { path: PathBuf, reason: String },
    /// An OCI document without a process or a Linux part has nothing to change.
    #[error("the specification has no {part}")]
    Bare { part: &'static str },
}

fn told(problems: &[Problem]) -> String {
    let one = |problem: &Problem| format!("{}: {}", problem.path.display(), problem.reason);
    match problems {
        [] => String::new(),
        all => format!(" ({})", all.iter().map(one).collect::<Vec<_>>().join("; ")),
    }
}

/// All devices that are described on this machine.
#[derive(Debug, Default)]
pub struct Registry {
    files: Vec<Document>,
    /// By whole name, `vendor.com/class=name`: which file, and which device of it.
    devices: BTreeMap<String, (usize, usize)>,
    problems: Vec<Problem>,
}

impl Registry {
    /// Reads the files of these directories. A directory that is not there has none.
    pub fn read(directories: &[PathBuf]) -> Registry {
        let mut registry = Registry::default();
        for directory in directories {
            let mut conflicts = BTreeSet::new();
            let mut own = BTreeMap::new();
            for (path, read) in files::read(directory) {
                match read {
                    Ok(document) => registry.add(document, &path, &mut own, &mut conflicts),
                    Err(reason) => registry.problems.push(Problem { path, reason }),
                }
            }
            // Of equal right: neither is taken, nor what an earlier directory says.
            for name in conflicts {
                own.remove(&name);
                registry.devices.remove(&name);
            }
            registry.devices.extend(own);
        }
        registry
    }

    fn add(
        &mut self,
        document: Document,
        path: &Path,
        own: &mut BTreeMap<String, (usize, usize)>,
        conflicts: &mut BTreeSet<String>,
    ) {
        for (number, device) in document.devices.iter().enumerate() {
            let name = format!("{}={}", document.kind, device.name);
            if own.insert(name.clone(), (self.files.len(), number)).is_some() {
                let reason = format!("device {name:?} is described by another file of the directory too");
                self.problems.push(Problem { path: path.to_owned(), reason });
                conflicts.insert(name);
            }
        }
        self.files.push(document);
    }

    /// The devices' whole names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// Files that could not be used.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What a device's vendor notes of it: the file's notes, and over them its own.
    pub fn annotation(&self, name: &str, key: &str) -> Option<&str> {
        let (file, device) = self.devices.get(name)?;
        let file = &self.files[*file];
        let note = file.devices[*device].annotations.get(key).or_else(|| file.annotations.get(key));
        note.map(String::as_str)
    }

    /// Gives the devices of these whole names to a container: what their files say, and what the devices' own entries say.
    pub fn inject<'n>(&self, spec: &mut Spec, names: impl IntoIterator<Item = &'n str>) -> Result<(), Error> {
        let (mut all, mut missing, mut seen) = (Vec::<&Edits>::new(), Vec::new(), BTreeSet::new());
        for name in names {
            let Some((file, device)) = self.devices.get(name) else {
                missing.push(name.to_owned());
                continue;
            };
            let document = &self.files[*file];
            if seen.insert(*file) {
                all.push(&document.container_edits);
            }
            all.push(&document.devices[*device].container_edits);
        }
        if !missing.is_empty() {
            return Err(Error::Unresolvable { names: missing, problems: self.problems.clone() });
        }
        all.into_iter().try_for_each(|edits| edits::apply(edits, spec))
    }
}

#[cfg(test)]
mod tests;
