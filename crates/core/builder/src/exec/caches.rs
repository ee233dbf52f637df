//! The directories of `RUN --mount=type=cache`: what they are called, who may use them, what they begin with.
//!
//! Each lies below the root's `cache-mounts` with a lock beside it (`<name>`, `<name>.lock`), which its users hold. A build without
//! the cache begins them anew: whoever uses one meanwhile goes on with it under another name.

use super::agent::Owner;
use super::mounts::{Known, OF_MOUNT, content, copy_into, mount_error, mounted};
use crate::error::{BoxError, Error};
use crate::event::Stream;
use crate::files;
use crate::files::walk::Tree;
use crate::graph::{Mount, MountKind, Op, OpKind, Origin, Run, Sharing};
use crate::progress::Step;
use crate::request::Env;
use crate::session::{Scratch, Session, io_error, make_private, tree};
use crate::step::Inputs;
use crate::turn;
use oci::{ChainId, Digest};
use rustix::fs::{CWD, FileType, FlockOperation, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Lease;
use sys::root::Root;

/// How often a waiting step looks again at a locked cache.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// Characters of a command line that describe a cache.
const DESCRIBED: usize = 200;

/// What the directory of a cache mount is called: one that begins with other files is another.
pub(super) fn directory(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    inputs: &Inputs,
) -> Result<Option<String>, Error> {
    let MountKind::Cache { id, seeded, .. } = &mount.kind else { return Ok(None) };
    let seed = match seeded {
        true => content(session, op, mount, inputs, Known::ByLayers)?,
        false => BTreeMap::new(),
    };
    Ok(Some(called(id, &mount.source, &seed)))
}

fn called(id: &str, source: &str, seed: &BTreeMap<String, String>) -> String {
    // Where it is mounted does not count.
    let path = |name: &'_ str| match name.strip_prefix(OF_MOUNT) {
        Some(mount) => mount.split_once('\n').map_or_else(String::new, |(_, path)| path.to_owned()),
        None => name.to_owned(),
    };
    let digest = match seed.is_empty() {
        true => Digest::sha256(id.as_bytes()),
        false => {
            let seed: Vec<_> = seed.iter().map(|(name, value)| (path(name), value)).collect();
            Digest::sha256(format!("{id:?} {source:?} {seed:?}").as_bytes())
        }
    };
    digest.hex().to_string()
}

/// Fills a new cache directory.
pub(super) fn seed(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    inputs: &Inputs,
    (dir, inherits): (&Path, bool),
) -> Result<(), Error> {
    let context = session.context_of(&mount.from);
    let view = match &mount.from {
        Origin::Fs(fs) => session.view(inputs.chain(session, op, fs).as_ref())?,
        Origin::Context(_) => None,
    };
    let Some(root) = context.map(|c| &c.root).or(view.as_ref()) else { return Ok(()) };
    let cancelled = || session.stopped();
    let filled = fill(&tree(root, context, &cancelled), &mount.source, dir, inherits);
    filled.map_err(|e| mount_error(session, op, mount, e))
}

/// Copies what is in the directory `source` into `dir`, which may get its mode and owner.
fn fill(from: &Tree<'_>, source: &str, dir: &Path, inherits: bool) -> Result<(), files::Error> {
    copy_into(from, source, dir, "/")?;
    if !inherits {
        return Ok(());
    }
    let stat = from.status(&files::real::path(from.root, Path::new(source))?)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let (uid, gid) = if from.is_context { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        chown(dir, Some(uid), Some(gid)).map_err(files::io("change owner of", dir))?;
        let mode = PermissionsExt::from_mode(stat.st_mode & 0o7777);
        std::fs::set_permissions(dir, mode).map_err(files::io("set mode of", dir))?;
    }
    Ok(())
}

/// The caches that a step mounts.
#[derive(Default)]
pub(super) struct Caches {
    /// By the numbers of their mounts.
    directories: BTreeMap<usize, Arc<Root>>,
    /// They are in use as long as these live.
    _locks: Vec<File>,
}

impl Caches {
    /// Waits for all of them: each once, as the strictest of its mounts says, and in the order of their names, for steps that take
    /// them in other orders would wait for each other.
    pub fn open(
        session: &Session<'_>,
        op: &Op,
        run: &Run,
        inputs: &Inputs,
        step: &Step<'_, '_>,
    ) -> Result<Self, Error> {
        let mut users: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, mount) in run.mounts.iter().enumerate() {
            if let Some(name) = directory(session, op, mount, inputs)? {
                users.entry(name).or_default().push(number);
            }
        }
        let (mut directories, mut locks) = (BTreeMap::new(), Vec::new());
        for (name, numbers) in users {
            if op.no_cache {
                renew(session, &name)?;
            }
            let mounts: Vec<&Mount> = numbers.iter().map(|&number| &run.mounts[number]).collect();
            let (lock, _, directory) = open(session, op, &name, (&run.argv, &mounts), inputs, step)?;
            let directory = Arc::new(directory);
            locks.push(lock);
            directories.extend(numbers.into_iter().map(|number| (number, directory.clone())));
        }
        Ok(Self { directories, _locks: locks })
    }

    /// The directory for a mount.
    pub fn mounted(&self, number: usize) -> Result<OwnedFd, Error> {
        let directory = &self.directories[&number];
        directory.as_fd().try_clone_to_owned().map_err(io_error("open", Path::new("a cache")))
    }
}

/// The directory of all mounts of one cache, and its lock.
fn open(
    session: &Session<'_>,
    op: &Op,
    name: &str,
    (argv, mounts): (&[String], &[&Mount]),
    inputs: &Inputs,
    step: &Step<'_, '_>,
) -> Result<(File, PathBuf, Root), Error> {
    let mut strictest = Sharing::Shared;
    let (mut first, mut told) = (None, None);
    for mount in mounts {
        let MountKind::Cache { id, sharing, mode, uid, gid, seeded, inherits } = &mount.kind else {
            continue;
        };
        strictest = strictest.max(*sharing);
        told.get_or_insert_with(|| described(&mount.target, argv, id));
        first.get_or_insert((mount, Owner { mode: *mode, uid: *uid, gid: *gid }, *seeded, *inherits));
    }
    let Some((mount, owner, is_seeded, inherits)) = first else {
        return Err(Error::Step(session.step_error(op, "a cache without a mount")));
    };
    let wanted = Wanted {
        name,
        sharing: strictest,
        owner,
        told: told.unwrap_or_default(),
        fill: &|made| if is_seeded { seed(session, op, mount, inputs, (made, inherits)) } else { Ok(()) },
        waits: &|| {
            let text = format!("another step uses the cache that {} mounts: waiting for it\n", mount.target);
            step.log(Stream::Stderr, text);
        },
        stopped: &|| session.stopped(),
    };
    wanted.open(session.env, session.lease)
}

/// A cache as BuildKit tells it: the first step that it was made for.
fn described(target: &str, argv: &[String], id: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let argv: String = argv.join(" ").chars().take(DESCRIBED).map(plain).collect();
    format!("cached mount {target} from exec {argv} with id {id:?}")
}

/// A cache mount's directory.
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub sharing: Sharing,
    /// Of a new one.
    pub owner: Owner,
    /// What people are told of a new one, in BuildKit's words.
    pub told: String,
    /// Gives a new one its first content.
    pub fill: &'a dyn Fn(&Path) -> Result<(), Error>,
    /// Told once when somebody else has it.
    pub waits: &'a dyn Fn(),
    pub stopped: &'a dyn Fn() -> bool,
}

impl Wanted<'_> {
    /// The directory, where it is, and the lock that says that it is in use.
    pub fn open(&self, env: &Env, lease: &Lease) -> Result<(File, PathBuf, Root), Error> {
        let base = &env.cache_mounts;
        std::fs::create_dir_all(base).map_err(io_error("make", base))?;
        std::fs::set_permissions(base, PermissionsExt::from_mode(0o700))
            .map_err(io_error("set mode of", base))?;
        loop {
            let (lock, name) = self.lock(base)?;
            let dir = base.join(&name);
            self.make(&dir, &lock, lease)?;
            match Root::open(&dir) {
                Ok(root) => return Ok((lock, dir, root)),
                // A build without the cache has put it aside, which it may with one that it can't know to be opened.
                Err(e) if e.kind() == ErrorKind::NotFound && !(self.stopped)() => {}
                Err(e) => return Err(io_error("open", &dir)(e)),
            }
        }
    }

    /// Makes the directory if it is not there.
    fn make(&self, dir: &Path, lock: &File, lease: &Lease) -> Result<(), Error> {
        if !dir.exists() {
            // Under its name only when it is whole: others may use it at once, and this process may be killed.
            let scratch = Scratch { path: lease.scratch() };
            make_private(&scratch.path)?;
            let made = scratch.dir("new")?;
            let Owner { mode, uid, gid } = self.owner;
            chown(&made, Some(uid), Some(gid)).map_err(io_error("change owner of", &made))?;
            let mode = PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&made, mode).map_err(io_error("set mode of", &made))?;
            (self.fill)(&made)?;
            // Nothing hangs on it: one that can't be told is a cache all the same.
            let _ = lock.set_len(0).and_then(|()| lock.write_all_at(self.told.as_bytes(), 0));
            match renameat_with(CWD, &made, CWD, dir, RenameFlags::NOREPLACE) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(io_error("make", dir)(e.into())),
            }
        }
        Ok(())
    }

    /// Locks the cache as its sharing says; the name of the directory to use.
    fn lock(&self, base: &Path) -> Result<(File, String), Error> {
        let how = match self.sharing {
            Sharing::Shared => FlockOperation::NonBlockingLockShared,
            Sharing::Private | Sharing::Locked => FlockOperation::NonBlockingLockExclusive,
        };
        let mut has_waited = false;
        for number in 0u32.. {
            let name = if number == 0 { self.name.to_owned() } else { format!("{}-{number}", self.name) };
            let path = turn::lock_of(base, &name);
            loop {
                if let Some(file) = turn::lock(base, &path, how)? {
                    return Ok((file, name));
                }
                if self.sharing == Sharing::Private {
                    break;
                }
                if (self.stopped)() {
                    return Err(Error::Cancelled);
                }
                if !std::mem::replace(&mut has_waited, true) {
                    (self.waits)();
                }
                std::thread::sleep(LOCK_POLL);
            }
        }
        Err(Error::Cancelled)
    }
}

/// The directory of a cache mount for processes that are no step, the same as for a step that mounts it so; it is in use as long as
/// the file lives. A new one begins with what a path leads to in layers.
pub fn cache_directory(
    env: &Env,
    lease: &Lease,
    (id, sharing): (&str, Sharing),
    seed: Option<(&ChainId, &str)>,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<(File, PathBuf, Root), Error> {
    let of = |(chain, _): (&ChainId, &str)| BTreeMap::from([(OF_MOUNT.to_owned(), chain.to_string())]);
    let source = seed.map_or("", |(_, source)| source);
    let first = |made: &Path| {
        let Some((chain, source)) = seed else { return Ok(()) };
        let failed = |source: BoxError| Error::Store { attempt: "fill a cache", source };
        let overlay = env.store.overlay(Some(chain), None, None).map_err(|e| failed(e.into()))?;
        let root = mounted(&overlay).map_err(|e| failed(e.into()))?;
        fill(&tree(&root, None, stopped), source, made, true).map_err(|e| failed(e.into()))
    };
    let wanted = Wanted {
        name: &called(id, source, &seed.map(of).unwrap_or_default()),
        sharing,
        owner: Owner { mode: 0o755, uid: 0, gid: 0 },
        told: format!("cached mount with id {id:?}"),
        fill: &first,
        waits: &|| {},
        stopped,
    };
    wanted.open(env, lease)
}

/// Has the caches begin anew of all steps that take nothing from earlier builds, before any step of this one uses them.
pub(crate) fn renew_all(session: &Session<'_>) -> Result<(), Error> {
    for op in session.graph.ops.iter().filter(|op| op.no_cache) {
        let OpKind::Run(run) = &op.kind else { continue };
        for mount in &run.mounts {
            // Those that begin with files are called by these, which need not be there yet.
            if let MountKind::Cache { id, seeded: false, .. } = &mount.kind {
                renew(session, &called(id, &mount.source, &BTreeMap::new()))?;
            }
        }
    }
    Ok(())
}

/// Has a cache begin anew, once a build.
pub(super) fn renew(session: &Session<'_>, name: &str) -> Result<(), Error> {
    let renewed = session.shared.renewed.get(name.to_owned(), || {
        let base = &session.env.cache_mounts;
        let listed = match std::fs::read_dir(base) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io_error("list", base))?,
        };
        let names = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut own = names.filter(|found| is_of(found, name));
        own.try_for_each(|found| put_aside(session, base, &found))
    });
    renewed.map(drop)
}

/// Whether a directory is this cache, or one that a step got because others held it.
fn is_of(found: &str, name: &str) -> bool {
    let is_number = |rest: &str| rest.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok());
    found.strip_prefix(name).is_some_and(|rest| rest.is_empty() || is_number(rest))
}

/// Takes a directory away, or leaves it to those who use it now.
fn put_aside(session: &Session<'_>, base: &Path, name: &str) -> Result<(), Error> {
    let (path, lock) = (base.join(name), turn::lock_of(base, name));
    let gone = |outcome: io::Result<()>| match outcome {
        // A collection was first.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_error("put aside", &path)),
    };
    if let Some(_held) = turn::lock(base, &lock, FlockOperation::NonBlockingLockExclusive)? {
        let scratch = session.scratch()?;
        return gone(std::fs::rename(&path, scratch.path.join("cache")));
    }
    // The lock has both names: nobody collects the directory before they are done.
    let aside = format!("{name}-{:016x}", fastrand::u64(..));
    gone(std::fs::hard_link(&lock, turn::lock_of(base, &aside)))?;
    gone(std::fs::rename(&path, base.join(aside)))
}
