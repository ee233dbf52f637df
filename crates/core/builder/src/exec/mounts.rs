//! `RUN --mount`: what each kind of mount is bound from.
//!
//! Sources that an image or a context chooses are opened below their root and bound by descriptor, so no link and no race
//! leads out (CVE-2024-23651). What is mounted writable from a context or a stage is thrown away afterwards.

use super::agent::{Owner, Relay};
use super::copy::LISTED;
use super::spec::{bind, kernel};
use crate::error::{BoxError, Error};
use crate::files::copy::Writer;
use crate::files::walk::Item;
use crate::files::{digest, select};
use crate::graph::{Mount, MountKind, Op, Origin, Run, Sharing};
use crate::request::Env;
use crate::session::{Scratch, Session, io_error, make_private, tree};
use crate::step::{Inputs, file_error};
use crate::turn;
use dockerfile::ignore::Ignore;
use oci::{ChainId, Digest};
use rustix::fs::{CWD, FlockOperation, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Lease;
use sys::mount::Overlay;
use sys::root::Root;

/// What the names of those inputs of a step begin with that stand for all that a mount shows.
pub(crate) const OF_MOUNT: &str = "of mount ";
/// What a copy of the files of a mount is called.
const CONTENT: &str = "content";
/// How often a waiting step looks again at a locked cache.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Mounts that are ready, and what must live as long as they are used.
#[derive(Default)]
pub(crate) struct Held {
    pub mounts: Vec<oci::runtime::Mount>,
    /// Secrets that are given as variables, and where the agent's socket is.
    pub env: Vec<String>,
    fds: Vec<OwnedFd>,
    locks: Vec<File>,
    scratch: Vec<Scratch>,
    /// What is written there becomes layers.
    pub kept: Vec<Kept>,
    /// Before the directory that their sockets lie in.
    relays: Vec<Relay>,
    secrets: Option<Scratch>,
}

/// A mount whose content is a result.
pub(crate) struct Kept {
    scratch: Scratch,
    chain: Option<ChainId>,
}

impl Kept {
    /// Makes what was written a layer, if anything was.
    pub fn commit(self, session: &Session<'_>) -> Result<Option<ChainId>, Error> {
        let upper = self.scratch.path.join("upper");
        let mut written = std::fs::read_dir(&upper).map_err(io_error("list", &upper))?;
        if written.next().is_none() {
            return Ok(self.chain);
        }
        let layer = session.env.store.layer_from_dir(session.lease, self.chain.as_ref(), &upper);
        let layer = layer.map_err(|e| Error::Store { attempt: "make layer of a mount", source: e.into() })?;
        Ok(Some(layer.chain_id))
    }
}

/// Digests of what mounts show, and of what new cache directories begin with; a stage is known by its layers.
pub(crate) fn read(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    inputs: &Inputs,
) -> Result<BTreeMap<String, String>, Error> {
    let mut read = limits(session);
    for mount in &run.mounts {
        match &mount.kind {
            MountKind::Bind | MountKind::Kept => read.extend(content(session, op, mount, inputs)?),
            MountKind::Cache { id, seeded, .. } => {
                let seed = match seeded {
                    true => content(session, op, mount, inputs)?,
                    false => BTreeMap::new(),
                };
                session.note_cache_mount(cache_name(id, &mount.source, &seed));
                read.extend(seed);
            }
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => {}
        }
    }
    Ok(read)
}

/// The limits that a build sets for its processes: under others they may do otherwise.
fn limits(session: &Session<'_>) -> BTreeMap<String, String> {
    let limits = &session.request.limits;
    let processes = limits.rlimits.iter();
    let mut told: BTreeMap<String, String> = processes
        .map(|limit| (format!("limit {}", limit.typ), format!("{}:{}", limit.soft, limit.hard)))
        .collect();
    told.extend(limits.shm_size.map(|bytes| ("size of /dev/shm".to_owned(), bytes.to_string())));
    if !limits.cgroup_parent.is_empty() {
        told.insert("parent of the control group".to_owned(), limits.cgroup_parent.clone());
    }
    told
}

/// Digests of the files that a mount is made of.
fn content(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    inputs: &Inputs,
) -> Result<BTreeMap<String, String>, Error> {
    if let Origin::Fs(fs) = &mount.from {
        let chain = inputs.chain(session, op, fs).map_or_else(|| "scratch".into(), |c| c.to_string());
        return Ok(BTreeMap::from([(format!("{OF_MOUNT}{}", mount.target), chain)]));
    }
    let Some(context) = session.context_of(&mount.from) else { return Ok(BTreeMap::new()) };
    let cancelled = || session.stopped();
    let from = tree(&context.root, Some(context), &cancelled);
    let fail = |e| mount_error(session, op, mount, e);
    let index = session.index(&from).map_err(fail)?;
    let mut read = BTreeMap::new();
    for found in select::select(&from, &mount.source, &Ignore::default()).map_err(fail)? {
        let mut sums = digest::known(&found.items, index.as_deref());
        digest::fill(&from, &found.items, &mut sums, index.as_deref(), &mut true).map_err(fail)?;
        // A directory's own mode and owner are not those of what is mounted.
        let is_top = |item: &Item| found.is_dir && item.is_start();
        let entries = found.items.iter().zip(sums.iter().map(Option::as_ref));
        read.extend(digest::lines(&from, entries.filter(|(item, _)| !is_top(item)), LISTED));
        if let Some(top) = found.items.first().filter(|item| is_top(item)) {
            read.entry(format!("/{}", top.path.display())).or_insert_with(|| "top".into());
        }
    }
    Ok(read)
}

/// What the directory of a cache mount is called: one that begins with other files is another.
pub(super) fn directory(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    inputs: &Inputs,
) -> Result<Option<String>, Error> {
    let MountKind::Cache { id, seeded, .. } = &mount.kind else { return Ok(None) };
    let seed = if *seeded { content(session, op, mount, inputs)? } else { BTreeMap::new() };
    Ok(Some(cache_name(id, &mount.source, &seed)))
}

fn cache_name(id: &str, source: &str, seed: &BTreeMap<String, String>) -> String {
    let digest = match seed.is_empty() {
        true => Digest::sha256(id.as_bytes()),
        // Where it is mounted does not count.
        false => {
            let place = |name: &str| name.starts_with(OF_MOUNT);
            let seed = seed.iter().map(|(name, value)| (if place(name) { "" } else { name }, value));
            let seed: Vec<_> = seed.collect();
            Digest::sha256(format!("{id:?} {source:?} {seed:?}").as_bytes())
        }
    };
    digest.hex().to_string()
}

/// An error that points at the mount and not only at the instruction.
fn mount_error(session: &Session<'_>, op: &Op, mount: &Mount, error: crate::files::Error) -> Error {
    let mut at = op.clone();
    at.span = mount.span;
    file_error(session, &at, error)
}

/// Prepares all mounts of a `RUN`.
pub(crate) fn set_up(session: &Session<'_>, op: &Op, run: &Run, inputs: &Inputs) -> Result<Held, Error> {
    let mut held = Held::default();
    for mount in &run.mounts {
        match &mount.kind {
            MountKind::Bind => held.bind(session, op, mount, inputs)?,
            MountKind::Kept => held.keep(session, op, mount, inputs)?,
            MountKind::Cache { .. } => held.cache(session, op, mount, inputs)?,
            MountKind::Tmpfs { size } => held.tmpfs(mount, *size),
            MountKind::Secret { .. } => held.secret(session, op, mount)?,
            MountKind::Ssh { .. } => held.ssh(session, op, mount)?,
        }
    }
    // What lies below another mount would be hidden by it.
    held.mounts.sort_by_key(|mount| mount.destination.components().count());
    if let Some(script) = &run.script {
        let scratch = session.scratch()?;
        let dir = scratch.dir("pipes")?;
        scratch.file(
            &format!("pipes/{}", script.name.replace('/', "_")),
            script.content.as_bytes(),
            0o755,
        )?;
        held.mounts.push(bind(&dir, "/dev/pipes", true));
        held.scratch.push(scratch);
    }
    Ok(held)
}

impl Held {
    /// Adds a bind of whatever the descriptor is open on.
    fn by_fd(&mut self, fd: OwnedFd, mount: &Mount, readonly: bool) {
        let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        self.mounts.push(bind(&source, &mount.target, readonly));
        self.fds.push(fd);
    }

    fn tmpfs(&mut self, mount: &Mount, size: u64) {
        let size = (size > 0).then(|| format!("size={size}"));
        let mut options = vec!["nosuid", "nodev", "mode=1777"];
        options.extend(size.as_deref());
        self.mounts.push(kernel("tmpfs", &mount.target, &options));
    }

    /// Mounts layers, and what is written is kept beside them.
    fn keep(&mut self, session: &Session<'_>, op: &Op, mount: &Mount, inputs: &Inputs) -> Result<(), Error> {
        let Origin::Fs(fs) = &mount.from else {
            return Err(Error::Step(session.step_error(op, "a context can't be written to")));
        };
        let chain = inputs.chain(session, op, fs);
        let scratch = session.scratch()?;
        let (upper, work) = (scratch.dir("upper")?, scratch.dir("work")?);
        let mut lower = match &chain {
            Some(chain) => session.env.store.layer_dirs(chain),
            None => Ok(Vec::new()),
        }
        .map_err(|e| Error::Store { attempt: "find layers", source: e.into() })?;
        if lower.is_empty() {
            lower.push(scratch.dir("empty")?);
        }
        let overlay = Overlay { lower, upper: Some(upper), work: Some(work), volatile: true };
        let opened = open_mounted(&overlay, Path::new(&mount.source));
        let fd = opened.map_err(|e| not_there(session, op, mount, e))?;
        self.by_fd(fd, mount, false);
        self.kept.push(Kept { scratch, chain });
        Ok(())
    }

    fn bind(&mut self, session: &Session<'_>, op: &Op, mount: &Mount, inputs: &Inputs) -> Result<(), Error> {
        let Origin::Fs(fs) = &mount.from else {
            let snapshot = self.snapshot(session, op, mount)?;
            if mount.readonly {
                self.mounts.push(bind(&snapshot, &mount.target, true));
                return Ok(());
            }
            // What was copied is the source itself.
            let whole = Mount { source: String::new(), ..mount.clone() };
            return self.throw_away(session, op, &whole, vec![snapshot]);
        };
        let chain = inputs.chain(session, op, fs);
        let lower = match &chain {
            Some(chain) => session.env.store.layer_dirs(chain),
            None => Ok(Vec::new()),
        };
        let mut lower = lower.map_err(|e| Error::Store { attempt: "find layers", source: e.into() })?;
        if lower.is_empty() {
            let scratch = session.scratch()?;
            lower.push(scratch.dir("empty")?);
            self.scratch.push(scratch);
        }
        if !mount.readonly {
            return self.throw_away(session, op, mount, lower);
        }
        let overlay = Overlay { lower, ..Overlay::default() };
        match open_mounted(&overlay, Path::new(&mount.source)) {
            Ok(fd) => self.by_fd(fd, mount, true),
            Err(e) if e.kind() == ErrorKind::InvalidInput => self.by_copy(session, mount, &overlay)?,
            Err(e) => return Err(not_there(session, op, mount, e)),
        }
        Ok(())
    }

    /// For kernels that can't bind from what is mounted nowhere: a copy, which may be written to.
    fn by_copy(&mut self, session: &Session<'_>, mount: &Mount, overlay: &Overlay) -> Result<(), Error> {
        let failed = |source: BoxError| Error::Store { attempt: "copy the files of a mount", source };
        let view = Overlay { lower: overlay.lower.clone(), ..Overlay::default() };
        let root = view.mount().map_err(|e| failed(e.into()))?;
        let root = Root::from_fd(root).map_err(|e| failed(e.into()))?;
        let scratch = session.scratch()?;
        let cancelled = || session.stopped();
        let copy = copy_into(&tree(&root, None, &cancelled), &mount.source, &scratch.path);
        self.mounts.push(bind(&copy.map_err(|e| failed(e.into()))?, &mount.target, mount.readonly));
        self.scratch.push(scratch);
        Ok(())
    }

    /// Mounts directories writable; what is written is lost.
    fn throw_away(
        &mut self,
        session: &Session<'_>,
        op: &Op,
        mount: &Mount,
        lower: Vec<PathBuf>,
    ) -> Result<(), Error> {
        let scratch = session.scratch()?;
        let (upper, work) = (Some(scratch.dir("upper")?), Some(scratch.dir("work")?));
        let overlay = Overlay { lower, upper, work, volatile: true };
        match open_mounted(&overlay, Path::new(&mount.source)) {
            Ok(fd) => self.by_fd(fd, mount, false),
            Err(e) if e.kind() == ErrorKind::InvalidInput => self.by_copy(session, mount, &overlay)?,
            Err(e) => return Err(not_there(session, op, mount, e)),
        }
        self.scratch.push(scratch);
        Ok(())
    }

    /// The files of a context as the ignore file leaves them, copied once per build.
    fn snapshot(&self, session: &Session<'_>, op: &Op, mount: &Mount) -> Result<PathBuf, Error> {
        let Some(context) = session.context_of(&mount.from) else {
            return Err(Error::Step(session.step_error(op, "unknown context")));
        };
        let key = format!("{:?} {}", mount.from, mount.source);
        let (path, _) = session.shared.snapshots.get(key, || {
            let path = session.lease.scratch();
            make_private(&path)?;
            let cancelled = || session.stopped();
            let from = tree(&context.root, Some(context), &cancelled);
            copy_into(&from, &mount.source, &path).map_err(|e| mount_error(session, op, mount, e))
        })?;
        Ok(path)
    }

    fn cache(&mut self, session: &Session<'_>, op: &Op, mount: &Mount, inputs: &Inputs) -> Result<(), Error> {
        let MountKind::Cache { sharing, mode, uid, gid, seeded, .. } = &mount.kind else { return Ok(()) };
        let Some(name) = directory(session, op, mount, inputs)? else { return Ok(()) };
        let wanted = Wanted {
            name: &name,
            sharing: *sharing,
            owner: Owner { mode: *mode, uid: *uid, gid: *gid },
            fill: &|made| if *seeded { seed(session, op, mount, inputs, made) } else { Ok(()) },
            stopped: &|| session.stopped(),
        };
        let (lock, dir) = wanted.open(session.env, session.lease)?;
        self.locks.push(lock);
        let root = Root::open(&dir).map_err(io_error("open", &dir))?;
        let fd = root.as_fd().try_clone_to_owned().map_err(io_error("open", &dir))?;
        self.by_fd(fd, mount, mount.readonly);
        Ok(())
    }

    fn ssh(&mut self, session: &Session<'_>, op: &Op, mount: &Mount) -> Result<(), Error> {
        let MountKind::Ssh { id, required, mode, uid, gid } = &mount.kind else { return Ok(()) };
        let named = session.request.ssh.get(id).cloned();
        let asked = || match &session.env.agents {
            Some(agents) => agents(id).map_err(|e| refused(session, op, mount, format!("ssh agent {id}"), e)),
            None => Ok(None),
        };
        let Some(socket) = named.map_or_else(asked, |socket| Ok(Some(socket)))? else {
            if !*required {
                return Ok(());
            }
            let mut error = session.step_error(op, format!("no SSH key {id:?} forwarded from the client"));
            error.place = session.file.place(mount.span);
            error.hint = Some(format!("forward an agent with --ssh {id}"));
            return Err(Error::Step(error));
        };
        if !self.env.iter().any(|e| e.starts_with("SSH_AUTH_SOCK=")) {
            self.env.push(format!("SSH_AUTH_SOCK={}", mount.target));
        }
        let path = self.private(session)?.join(format!("{}", self.mounts.len()));
        let owner = Owner { mode: *mode, uid: *uid, gid: *gid };
        self.relays.push(Relay::start(&path, &socket, owner).map_err(io_error("listen at", &path))?);
        self.mounts.push(bind(&path, &mount.target, false));
        Ok(())
    }

    /// A directory in memory that nobody else can enter.
    fn private(&mut self, session: &Session<'_>) -> Result<PathBuf, Error> {
        if let Some(dir) = &self.secrets {
            return Ok(dir.path.clone());
        }
        let run = &session.env.run;
        std::fs::create_dir_all(run).map_err(io_error("make", run))?;
        let path = run.join(format!("{}-{:016x}", session.lease.id(), fastrand::u64(..)));
        make_private(&path)?;
        self.secrets = Some(Scratch { path: path.clone() });
        Ok(path)
    }

    fn secret(&mut self, session: &Session<'_>, op: &Op, mount: &Mount) -> Result<(), Error> {
        let MountKind::Secret { id, required, mode, uid, gid, env } = &mount.kind else { return Ok(()) };
        let held = session.request.secrets.get(id).cloned();
        let asked = || match &session.env.secrets {
            Some(secrets) => secrets(id).map_err(|e| refused(session, op, mount, format!("secret {id}"), e)),
            None => Ok(None),
        };
        let Some(secret) = held.map_or_else(asked, |secret| Ok(Some(secret)))? else {
            if !*required {
                return Ok(());
            }
            let mut error = session.step_error(op, format!("secret {id}: not found"));
            error.place = session.file.place(mount.span);
            error.hint = Some(format!("give it with --secret id={id},src=file"));
            return Err(Error::Step(error));
        };
        if let Some(name) = env {
            let text = String::from_utf8_lossy(&secret);
            self.env.push(format!("{name}={}", text.trim_end_matches('\0')));
        }
        if mount.target.is_empty() {
            return Ok(());
        }
        self.private(session)?;
        let Some(dir) = &self.secrets else { return Ok(()) };
        let path = dir.file(&format!("{}", self.mounts.len()), &secret, *mode)?;
        chown(&path, Some(*uid), Some(*gid)).map_err(io_error("change owner of", &path))?;
        self.mounts.push(bind(&path, &mount.target, true));
        Ok(())
    }
}

/// The files of a context that a mount shows, as a layer and the path in it.
pub(super) fn of_context(session: &Session<'_>, op: &Op, mount: &Mount) -> Result<(ChainId, String), Error> {
    let Some(context) = session.context_of(&mount.from) else {
        return Err(Error::Step(session.step_error(op, "unknown context")));
    };
    let scratch = session.scratch()?;
    let cancelled = || session.stopped();
    let copied = copy_into(&tree(&context.root, Some(context), &cancelled), &mount.source, &scratch.path);
    copied.map_err(|e| mount_error(session, op, mount, e))?;
    let layer = session.env.store.layer_from_dir(session.lease, None, &scratch.path);
    let layer = layer.map_err(|e| Error::Store { attempt: "make layer of a mount", source: e.into() })?;
    Ok((layer.chain_id, format!("/{CONTENT}")))
}

/// A path in an overlay, as a mount of its own that lives with its descriptor. Needs Linux 6.15: before, what is mounted
/// nowhere can't be cloned.
pub fn open_mounted(overlay: &Overlay, source: &Path) -> std::io::Result<OwnedFd> {
    let mounted = overlay.mount().map_err(std::io::Error::other)?;
    let root = Root::from_fd(mounted)?;
    let fd = root.resolve(source)?;
    sys::mount::open_tree_clone(fd.as_fd(), Path::new(""), true)
}

/// Whoever was asked for something could not say whether it is there.
fn refused(session: &Session<'_>, op: &Op, mount: &Mount, what: String, error: crate::BoxError) -> Error {
    let mut step = session.step_error(op, what);
    step.place = session.file.place(mount.span);
    step.source = Some(error);
    Error::Step(step)
}

fn not_there(session: &Session<'_>, op: &Op, mount: &Mount, error: std::io::Error) -> Error {
    let mut step = session.step_error(op, format!("mount {} of {}", mount.source, mount.target));
    if error.kind() == ErrorKind::NotFound {
        step.message = format!("failed to calculate checksum of ref: {:?}: not found", mount.source);
    } else {
        step.source = Some(error.into());
    }
    step.place = session.file.place(mount.span);
    Error::Step(step)
}

/// Copies what `source` means into `dir`; the path of the copy.
fn copy_into(
    from: &crate::files::walk::Tree<'_>,
    source: &str,
    dir: &Path,
) -> Result<PathBuf, crate::files::Error> {
    let found = select::select(from, source, &Ignore::default())?;
    let root = Root::open(dir).map_err(crate::files::io("open", dir))?;
    let mut writer = Writer { root: &root, owner: None, mode: None, unsteady: false };
    for found in &found {
        writer.copy(from, found, &format!("/{CONTENT}"))?;
    }
    Ok(dir.join(CONTENT))
}

/// Fills a new cache directory.
fn seed(session: &Session<'_>, op: &Op, mount: &Mount, inputs: &Inputs, dir: &Path) -> Result<(), Error> {
    let context = session.context_of(&mount.from);
    let view = match &mount.from {
        Origin::Fs(fs) => session.view(inputs.chain(session, op, fs).as_ref())?,
        Origin::Context(_) => None,
    };
    let Some(root) = context.map(|c| &c.root).or(view.as_ref()) else { return Ok(()) };
    let cancelled = || session.stopped();
    let filled = fill(&tree(root, context, &cancelled), &mount.source, dir);
    filled.map_err(|e| mount_error(session, op, mount, e))
}

/// Copies what is in the directory `source` into `dir`.
fn fill(from: &crate::files::walk::Tree<'_>, source: &str, dir: &Path) -> Result<(), crate::files::Error> {
    let found = select::select(from, source, &Ignore::default())?;
    let root = Root::open(dir).map_err(crate::files::io("open", dir))?;
    let mut writer = Writer { root: &root, owner: None, mode: None, unsteady: false };
    for found in &found {
        writer.copy(from, found, "/")?;
    }
    Ok(())
}

/// A cache mount's directory.
struct Wanted<'a> {
    name: &'a str,
    sharing: Sharing,
    /// Of a new one.
    owner: Owner,
    /// Gives a new one its first content.
    fill: &'a dyn Fn(&Path) -> Result<(), Error>,
    stopped: &'a dyn Fn() -> bool,
}

impl Wanted<'_> {
    /// The directory, and the lock that says that it is in use.
    fn open(&self, env: &Env, lease: &Lease) -> Result<(File, PathBuf), Error> {
        let base = &env.cache_mounts;
        std::fs::create_dir_all(base).map_err(io_error("make", base))?;
        std::fs::set_permissions(base, PermissionsExt::from_mode(0o700))
            .map_err(io_error("set mode of", base))?;
        let (lock, name) = lock(base, self.name, self.sharing, self.stopped)?;
        let dir = base.join(&name);
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
            match renameat_with(CWD, &made, CWD, &dir, RenameFlags::NOREPLACE) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(io_error("make", &dir)(e.into())),
            }
        }
        Ok((lock, dir))
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
) -> Result<(File, PathBuf), Error> {
    let of = |(chain, _): (&ChainId, &str)| BTreeMap::from([(OF_MOUNT.to_owned(), chain.to_string())]);
    let source = seed.map_or("", |(_, source)| source);
    let first = |made: &Path| {
        let Some((chain, source)) = seed else { return Ok(()) };
        let failed = |source: BoxError| Error::Store { attempt: "fill a cache", source };
        let overlay = env.store.overlay(Some(chain), None, None).map_err(|e| failed(e.into()))?;
        let root = Root::from_fd(overlay.mount().map_err(|e| failed(e.into()))?);
        let root = root.map_err(|e| failed(e.into()))?;
        fill(&tree(&root, None, stopped), source, made).map_err(|e| failed(e.into()))
    };
    let wanted = Wanted {
        name: &cache_name(id, source, &seed.map(of).unwrap_or_default()),
        sharing,
        owner: Owner { mode: 0o755, uid: 0, gid: 0 },
        fill: &first,
        stopped,
    };
    wanted.open(env, lease)
}

/// Locks a cache as its sharing says; the name of the directory to use.
fn lock(
    base: &Path,
    name: &str,
    sharing: Sharing,
    stopped: &dyn Fn() -> bool,
) -> Result<(File, String), Error> {
    let how = match sharing {
        Sharing::Shared => FlockOperation::NonBlockingLockShared,
        Sharing::Private | Sharing::Locked => FlockOperation::NonBlockingLockExclusive,
    };
    for number in 0u32.. {
        let name = if number == 0 { name.to_string() } else { format!("{name}-{number}") };
        let path = base.join(format!("{name}.lock"));
        loop {
            if let Some(file) = turn::lock(base, &path, how)? {
                return Ok((file, name));
            }
            if sharing == Sharing::Private {
                break;
            }
            if stopped() {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(LOCK_POLL);
        }
    }
    Err(Error::Cancelled)
}
