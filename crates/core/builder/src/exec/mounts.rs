//! `RUN --mount`: what each kind of mount is bound from.
//!
//! Sources that an image or a context chooses are opened below their root and bound by descriptor, so no link and no race
//! leads out (CVE-2024-23651). What is mounted writable from a context or a stage is thrown away afterwards.

use super::agent::{Owner, Relay};
use super::caches::{self, Caches};
use super::copy::LISTED;
use super::spec::{bind, kernel};
use crate::error::{BoxError, Error, Spot};
use crate::files::copy::Writer;
use crate::files::walk::Item;
use crate::files::{digest, select};
use crate::graph::{Mount, MountKind, Op, Origin, Run};
use crate::progress::Step;
use crate::session::{Scratch, Session, io_error, make_private, tree};
use crate::step::{Inputs, file_error};
use dockerfile::ignore::Ignore;
use oci::ChainId;
use rustix::mount::MountAttrFlags;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sys::mount::Overlay;
use sys::root::Root;

/// What the names of those inputs of a step begin with that stand for all that a mount shows.
pub(crate) const OF_MOUNT: &str = "of mount ";
/// What a copy of the files of a mount is called.
const CONTENT: &str = "content";

/// Mounts that are ready, and what must live as long as they are used.
#[derive(Default)]
pub(crate) struct Held {
    pub mounts: Vec<oci::runtime::Mount>,
    /// Secrets that are given as variables, and where the agent's socket is.
    pub env: Vec<String>,
    fds: Vec<OwnedFd>,
    caches: Caches,
    scratch: Vec<Scratch>,
    /// What is written there becomes layers.
    pub kept: Vec<Kept>,
    /// The same of what is thrown away unless the process fails.
    pub spare: Vec<Kept>,
    /// Before the directory that their sockets lie in.
    relays: Vec<Relay>,
    secrets: Option<Scratch>,
}

/// A mount whose content is a result.
pub(crate) struct Kept {
    /// Which of the step's mounts it is.
    pub number: usize,
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

/// How what is mounted from a stage or an image is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// By its layers, whatever is in them: that costs nothing.
    ByLayers,
    /// By what is mounted of it.
    ByContent,
}

/// Digests of what mounts show, and of what new cache directories begin with.
pub(crate) fn read(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    inputs: &Inputs,
    how: Known,
) -> Result<BTreeMap<String, String>, Error> {
    let mut read = limits(session);
    for mount in &run.mounts {
        match &mount.kind {
            MountKind::Bind => read.extend(content(session, op, mount, inputs, how)?),
            // What is written there becomes layers on these.
            MountKind::Kept => read.extend(content(session, op, mount, inputs, Known::ByLayers)?),
            MountKind::Cache { seeded, .. } => {
                if *seeded {
                    read.extend(content(session, op, mount, inputs, how)?);
                }
                if let Some(name) = caches::directory(session, op, mount, inputs)? {
                    session.note_cache_mount(name);
                }
            }
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => {}
        }
    }
    Ok(read)
}

/// The same with layers in place of what is in them; nothing if none is mounted.
pub(crate) fn layers(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    inputs: &Inputs,
) -> Result<Option<BTreeMap<String, String>>, Error> {
    let is_read = |kind: &MountKind| matches!(kind, MountKind::Bind | MountKind::Cache { seeded: true, .. });
    let has_layers = |mount: &Mount| matches!(mount.from, Origin::Fs(_)) && is_read(&mount.kind);
    let known = run.mounts.iter().any(has_layers);
    known.then(|| read(session, op, run, inputs, Known::ByLayers)).transpose()
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

/// Digests of the files that a mount is made of. Several contexts and stages may have files of one name, so all but those of
/// the build's own context are called by their mount, too.
pub(super) fn content(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    inputs: &Inputs,
    how: Known,
) -> Result<BTreeMap<String, String>, Error> {
    let place = format!("{OF_MOUNT}{}", mount.target);
    let fs = match &mount.from {
        Origin::Context(None) => return read_context(session, op, mount),
        Origin::Context(Some(_)) => return Ok(called(&place, &read_context(session, op, mount)?)),
        Origin::Fs(fs) => fs,
    };
    match (inputs.chain(session, op, fs), how) {
        (None, _) => Ok(BTreeMap::from([(place, "scratch".to_owned())])),
        (Some(chain), Known::ByLayers) => Ok(BTreeMap::from([(place, chain.to_string())])),
        (Some(chain), Known::ByContent) => Ok(called(&place, &*read_layers(session, op, mount, chain)?)),
    }
}

/// Paths with the mount that they are of.
fn called(place: &str, read: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    read.iter().map(|(path, value)| (format!("{place}\n{path}"), value.clone())).collect()
}

fn read_context(session: &Session<'_>, op: &Op, mount: &Mount) -> Result<BTreeMap<String, String>, Error> {
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
            read.entry(digest::named(&top.path)).or_insert_with(|| "top".into());
        }
    }
    Ok(read)
}

/// What is mounted of a stage or an image, read once a build.
fn read_layers(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    chain: ChainId,
) -> Result<Arc<BTreeMap<String, String>>, Error> {
    let key = (chain.clone(), mount.source.clone());
    let read = session.shared.mounted.get(key, || {
        let Some(root) = session.view(Some(&chain))? else { return Ok(Arc::default()) };
        let cancelled = || session.stopped();
        let from = tree(&root, None, &cancelled);
        let items = match select::path(&from, &mount.source) {
            Err(crate::files::Error::NotFound { near, .. }) => {
                let mut error = not_there(session, op, mount, ErrorKind::NotFound.into());
                if let Error::Step(step) = &mut error {
                    step.hint = near.map(|near| format!("did you mean /{near}?"));
                }
                return Err(error);
            }
            other => other.map_err(|e| mount_error(session, op, mount, e))?,
        };
        let mut sums = vec![None; items.len()];
        let filled = digest::fill(&from, &items, &mut sums, None, &mut true);
        filled.map_err(|e| mount_error(session, op, mount, e))?;
        Ok(Arc::new(digest::lines(&from, items.iter().zip(sums.iter().map(Option::as_ref)), LISTED)))
    });
    read.map(|(read, _)| read)
}

/// An error that points at the mount and not only at the instruction.
pub(super) fn mount_error(
    session: &Session<'_>,
    op: &Op,
    mount: &Mount,
    error: crate::files::Error,
) -> Error {
    let mut at = op.clone();
    at.span = mount.span;
    file_error(session, &at, error)
}

/// Prepares all mounts of a `RUN`.
pub(crate) fn set_up(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    inputs: &Inputs,
    step: &Step<'_, '_>,
) -> Result<Held, Error> {
    let caches = Caches::open(session, op, run, inputs, step)?;
    let mut held = Held::default();
    for (number, mount) in run.mounts.iter().enumerate() {
        match &mount.kind {
            MountKind::Bind if is_spare(session, mount) => {
                match held.keep(session, op, (number, mount), inputs) {
                    Ok(spare) => held.spare.push(spare),
                    // Older kernels have another way, and what is not there is told there too.
                    Err(_) => held.bind(session, op, mount, inputs)?,
                }
            }
            MountKind::Bind => held.bind(session, op, mount, inputs)?,
            MountKind::Kept => {
                let kept = held.keep(session, op, (number, mount), inputs)?;
                held.kept.push(kept);
            }
            MountKind::Cache { .. } => held.by_fd(caches.mounted(number)?, mount, mount.readonly),
            MountKind::Tmpfs { size } => held.tmpfs(mount, *size),
            MountKind::Secret { .. } => held.secret(session, op, mount)?,
            MountKind::Ssh { .. } => held.ssh(session, op, mount)?,
        }
    }
    held.caches = caches;
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

/// Whether what is written there is of use where the process fails: its client may look at it.
fn is_spare(session: &Session<'_>, mount: &Mount) -> bool {
    session.request.keep_mounts && !mount.readonly && matches!(mount.from, Origin::Fs(_))
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
    fn keep(
        &mut self,
        session: &Session<'_>,
        op: &Op,
        (number, mount): (usize, &Mount),
        inputs: &Inputs,
    ) -> Result<Kept, Error> {
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
        Ok(Kept { number, scratch, chain })
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
        let root = mounted(&view).map_err(|e| failed(e.into()))?;
        let scratch = session.scratch()?;
        let cancelled = || session.stopped();
        copy_into(&tree(&root, None, &cancelled), &mount.source, &scratch.path, CONTENT)
            .map_err(|e| failed(e.into()))?;
        self.mounts.push(bind(&scratch.path.join(CONTENT), &mount.target, mount.readonly));
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
            let copied = copy_into(&from, &mount.source, &path, CONTENT);
            copied.map(|()| path.join(CONTENT)).map_err(|e| mount_error(session, op, mount, e))
        })?;
        Ok(path)
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

    /// A directory that nobody else can enter, in memory where the run folder is.
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
        let owner = Owner { mode: *mode, uid: *uid, gid: *gid };
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
        if let Ok(file) = in_memory(&secret, &owner) {
            self.by_fd(file, mount, true);
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

/// A file on a file system of its own that is mounted nowhere: nothing of it comes to a disk, and it goes with its descriptor, however
/// this process ends. Needs Linux 6.15, as [`open_mounted`].
fn in_memory(content: &[u8], owner: &Owner) -> std::io::Result<OwnedFd> {
    const NAME: &str = "secret";
    let mut fs = sys::mount::Context::open("tmpfs").map_err(std::io::Error::other)?;
    fs.set("mode", "0700").and_then(|()| fs.create()).map_err(std::io::Error::other)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = Root::from_fd(fs.mount(attributes).map_err(std::io::Error::other)?)?;
    root.create_file(NAME, 0o600)?.write_all(content)?;
    root.chown(NAME, owner.uid, owner.gid)?;
    root.chmod(NAME, owner.mode)?;
    sys::mount::open_tree_clone(root.resolve(NAME)?.as_fd(), Path::new(""), false)
}

/// The files of a context that a mount shows, as a layer and the path in it.
pub(super) fn of_context(session: &Session<'_>, op: &Op, mount: &Mount) -> Result<(ChainId, String), Error> {
    let Some(context) = session.context_of(&mount.from) else {
        return Err(Error::Step(session.step_error(op, "unknown context")));
    };
    let scratch = session.scratch()?;
    let cancelled = || session.stopped();
    let from = tree(&context.root, Some(context), &cancelled);
    let copied = copy_into(&from, &mount.source, &scratch.path, CONTENT);
    copied.map_err(|e| mount_error(session, op, mount, e))?;
    let layer = session.env.store.layer_from_dir(session.lease, None, &scratch.path);
    let layer = layer.map_err(|e| Error::Store { attempt: "make layer of a mount", source: e.into() })?;
    Ok((layer.chain_id, format!("/{CONTENT}")))
}

/// A path in an overlay, as a mount of its own that lives with its descriptor. Needs Linux 6.15: before, what is mounted
/// nowhere can't be cloned.
pub fn open_mounted(overlay: &Overlay, source: &Path) -> std::io::Result<OwnedFd> {
    // Without its root nothing of it can be cloned any more.
    let root = mounted(overlay)?;
    let fd = root.resolve(source)?;
    sys::mount::open_tree_clone(fd.as_fd(), Path::new(""), true)
}

/// An overlay that is mounted nowhere, and lives with its root.
pub(super) fn mounted(overlay: &Overlay) -> std::io::Result<Root> {
    Root::from_fd(overlay.mount().map_err(std::io::Error::other)?)
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
        step.spot = Some(Box::new(Spot { missing: Some(mount.source.clone()), ..Spot::default() }));
    } else {
        step.source = Some(error.into());
    }
    step.place = session.file.place(mount.span);
    Error::Step(step)
}

/// Copies what `source` means to the path `to` of `dir`; a directory becomes that path, and what it has already stays.
pub(super) fn copy_into(
    from: &crate::files::walk::Tree<'_>,
    source: &str,
    dir: &Path,
    to: &str,
) -> Result<(), crate::files::Error> {
    let root = Root::open(dir).map_err(crate::files::io("open", dir))?;
    copy_below(from, source, &root, to)
}

/// The same below a root.
pub(super) fn copy_below(
    from: &crate::files::walk::Tree<'_>,
    source: &str,
    root: &Root,
    to: &str,
) -> Result<(), crate::files::Error> {
    let found = select::select(from, source, &Ignore::default())?;
    let mut writer = Writer::plain(root);
    for found in &found {
        writer.copy(from, found, to)?;
    }
    Ok(())
}
