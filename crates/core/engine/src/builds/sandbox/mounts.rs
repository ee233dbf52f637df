//! What is mounted in a sandbox: other results, caches, secrets, agents, memory.
//!
//! Layers are mounted nowhere: the container gets a clone of what a descriptor of this process is open on, so its first process must
//! be started while this lives.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use api::mounts::{BindOptions, Mount as Asked, TmpfsOptions};
use builder::graph::Sharing;
use builder::{CancelToken, Owner, Relay};
use oci::ChainId;
use store::Lease;
use sys::mount::Overlay;
use sys::root::Root;

use super::super::leftovers;
use crate::Engine;
use crate::containers::record::make_private_dir;
use crate::error::{Context as _, Error, Result};
use crate::images::View;

/// Where memory may be written to by everybody.
const FOR_ALL: u32 = 0o1777;

/// Something at a place of its own in a container. What is written to a result is lost.
#[derive(Debug, Clone)]
pub struct Mount {
    pub kind: MountKind,
    pub destination: String,
    pub read_only: bool,
}

#[derive(Debug, Clone)]
pub enum MountKind {
    /// A result, or an empty directory.
    Bind(Option<Part>),
    /// The directory of a build's cache mount; a new one begins with a result's files.
    Cache {
        id: String,
        sharing: Sharing,
        seed: Option<Part>,
    },
    /// Bytes; 0 is no limit.
    Memory {
        size: u64,
    },
    Secret {
        content: Vec<u8>,
        owner: Owner,
    },
    /// What listens here is an ssh agent.
    Agent {
        socket: PathBuf,
        owner: Owner,
    },
}

/// Something of a result.
#[derive(Debug, Clone)]
pub struct Part {
    /// The manifest of the file system.
    pub image: String,
    /// From its top.
    pub path: String,
}

/// Mounts that are ready, as long as this lives.
pub(super) struct Held {
    pub mounts: Vec<Asked>,
    /// The files of each that has any, to be looked at.
    roots: Vec<Option<Root>>,
    /// What binds are clones of.
    trees: Vec<OwnedFd>,
    locks: Vec<File>,
    relays: Vec<Relay>,
    /// Where secrets and sockets are.
    private: PathBuf,
    lease: Lease,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.relays.clear();
        // What stays is found by the check of the system.
        let _ = std::fs::remove_dir_all(&self.private);
    }
}

impl Held {
    /// Prepares mounts. It waits for caches that others have locked.
    pub fn new(engine: &Engine, wanted: &[Mount], cancel: &CancelToken) -> Result<Held> {
        let lease = engine.store().lease("container of a build")?;
        let private = leftovers::secrets(engine).join(format!("{}-container", lease.id()));
        let (mounts, roots, trees) = (Vec::new(), Vec::new(), Vec::new());
        let (locks, relays) = (Vec::new(), Vec::new());
        let mut held = Held { mounts, roots, trees, locks, relays, private, lease };
        for mount in wanted {
            let root = match &mount.kind {
                MountKind::Bind(part) => held.bind(engine, mount, part.as_ref())?,
                MountKind::Cache { id, sharing, seed } => {
                    Some(held.cache(engine, mount, (id, *sharing), seed.as_ref(), cancel)?)
                }
                MountKind::Memory { size } => held.memory(mount, *size),
                MountKind::Secret { content, owner } => held.secret(mount, content, *owner)?,
                MountKind::Agent { socket, owner } => held.agent(mount, socket, *owner)?,
            };
            held.roots.push(root);
        }
        Ok(held)
    }

    /// The files of a mount, by its number.
    pub fn view(&self, number: usize) -> Result<View> {
        let root = self.roots.get(number).and_then(Option::as_ref);
        let root = root.map(Root::try_clone).transpose();
        Ok(View::of(root.during("open a mount")?))
    }

    fn add(&mut self, source: &Path, mount: &Mount) -> Result<()> {
        let source = source.to_str().ok_or_else(|| {
            Error::system(format!("mount {}: {source:?} is no text", mount.destination))
                .with_hint("give the engine a root and a run folder whose paths are UTF-8")
        })?;
        self.mounts.push(Asked {
            typ: "bind".to_owned(),
            source: source.to_owned(),
            target: mount.destination.clone(),
            read_only: mount.read_only,
            bind_options: Some(BindOptions::default()),
            ..Asked::default()
        });
        Ok(())
    }

    /// The layers of a result, held.
    fn chain(&self, engine: &Engine, part: &Part) -> Result<Option<ChainId>> {
        let chain = engine.store().resolve(&part.image, None)?.chain();
        if let Some(chain) = &chain {
            engine.store().use_layer(&self.lease, chain)?;
        }
        Ok(chain)
    }

    /// A directory of ours.
    fn directory(&self, parent: &Path, name: &str) -> Result<PathBuf> {
        let path = parent.join(name);
        make_private_dir(parent)?;
        std::fs::create_dir(&path).during("make a directory")?;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).during("set the mode of a directory")?;
        Ok(path)
    }

    fn bind(&mut self, engine: &Engine, mount: &Mount, part: Option<&Part>) -> Result<Option<Root>> {
        let chain = part.map(|part| self.chain(engine, part)).transpose()?.flatten();
        let mut lower = match &chain {
            Some(chain) => engine.store().layer_dirs(chain)?,
            None => Vec::new(),
        };
        let scratch = self.lease.scratch();
        if lower.is_empty() {
            lower.push(self.directory(&scratch, "empty")?);
        }
        let (mut upper, mut work) = (None, None);
        if !mount.read_only {
            upper = Some(self.directory(&scratch, "upper")?);
            work = Some(self.directory(&scratch, "work")?);
        }
        let overlay = Overlay { lower, upper, work, volatile: true };
        let path = part.map_or("/", |part| part.path.as_str());
        let failed = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound => {
                Error::not_found(format!("mount {}: {path:?}: not found", mount.destination))
            }
            _ => Error::system(format!("mount {path} at {}: {e}", mount.destination)),
        };
        match builder::open_mounted(&overlay, Path::new(path)) {
            Ok(tree) => {
                self.add(Path::new(&format!("/proc/{}/fd/{}", std::process::id(), tree.as_raw_fd())), mount)?;
                let found = tree.try_clone().during("open a mount")?;
                self.trees.push(tree);
                Ok(directory(found))
            }
            // The kernel can't clone what is mounted nowhere.
            Err(e) if e.kind() == ErrorKind::InvalidInput => {
                let copy = self.directory(&self.lease.scratch(), "copy")?;
                copied(&overlay, &copy)?;
                let found = Root::open(&copy).and_then(|root| root.resolve(path)).map_err(failed)?;
                let source = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()));
                self.add(&source.during("find the copy of a mount")?, mount)?;
                Ok(directory(found))
            }
            Err(e) => Err(failed(e)),
        }
    }

    fn cache(
        &mut self,
        engine: &Engine,
        mount: &Mount,
        cache: (&str, Sharing),
        seed: Option<&Part>,
        cancel: &CancelToken,
    ) -> Result<Root> {
        let env = super::super::build::environment(engine, &Default::default(), cancel);
        let chain = seed.map(|part| self.chain(engine, part)).transpose()?.flatten();
        let seed = chain.as_ref().zip(seed.map(|part| part.path.as_str()));
        let stopped = || cancel.is_cancelled();
        let (lock, directory, root) =
            builder::cache_directory(&env, &self.lease, cache, seed, &stopped).system()?;
        self.locks.push(lock);
        self.add(&directory, mount)?;
        Ok(root)
    }

    fn memory(&mut self, mount: &Mount, size: u64) -> Option<Root> {
        let size_bytes = i64::try_from(size).unwrap_or(i64::MAX);
        self.mounts.push(Asked {
            typ: "tmpfs".to_owned(),
            target: mount.destination.clone(),
            read_only: mount.read_only,
            // As for a step.
            tmpfs_options: Some(TmpfsOptions {
                size_bytes,
                mode: FOR_ALL,
                options: vec![vec!["exec".to_owned()]],
            }),
            ..Asked::default()
        });
        None
    }

    /// A new name in a directory in memory that nobody else can enter.
    fn place(&self) -> Result<PathBuf> {
        make_private_dir(&self.private)?;
        Ok(self.private.join(self.mounts.len().to_string()))
    }

    fn secret(&mut self, mount: &Mount, content: &[u8], owner: Owner) -> Result<Option<Root>> {
        let path = self.place()?;
        std::fs::write(&path, content).during("write a secret")?;
        chown(&path, Some(owner.uid), Some(owner.gid)).during("change the owner of a secret")?;
        let mode = std::fs::Permissions::from_mode(owner.mode);
        std::fs::set_permissions(&path, mode).during("set the mode of a secret")?;
        self.add(&path, &Mount { read_only: true, ..mount.clone() })?;
        Ok(None)
    }

    fn agent(&mut self, mount: &Mount, socket: &Path, owner: Owner) -> Result<Option<Root>> {
        let path = self.place()?;
        self.relays.push(Relay::start(&path, socket, owner).during("listen for an ssh agent")?);
        self.add(&path, &Mount { read_only: false, ..mount.clone() })?;
        Ok(None)
    }
}

/// What is below a descriptor; nothing is below a file.
fn directory(found: OwnedFd) -> Option<Root> {
    Root::from_fd(found).ok()
}

/// Copies all files of layers into an empty directory.
fn copied(overlay: &Overlay, directory: &Path) -> Result<()> {
    let lower = Overlay { upper: None, work: None, ..overlay.clone() };
    let root = lower.mount().during("mount layers").and_then(|fd| Root::from_fd(fd).during("open layers"))?;
    View::of(Some(root)).copy_into(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_copied_where_they_cannot_be_bound() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second, copy] = ["first", "second", "copy"].map(|name| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        });
        std::fs::write(first.join("a"), "below").unwrap();
        std::fs::create_dir(first.join("d")).unwrap();
        std::fs::write(first.join("d/b"), "kept").unwrap();
        std::fs::write(second.join("a"), "above").unwrap();
        let overlay = Overlay { lower: vec![second, first], ..Overlay::default() };
        copied(&overlay, &copy).unwrap();
        assert_eq!(std::fs::read_to_string(copy.join("a")).unwrap(), "above");
        assert_eq!(std::fs::read_to_string(copy.join("d/b")).unwrap(), "kept");
    }
}
