//! One build at work: what its steps share.

use crate::build::Claims;
use crate::epoch::{Epoch, Time};
use crate::error::{Error, Place, StepError};
use crate::files;
use crate::files::index::{Index, Indices};
use crate::files::walk::Tree;
use crate::graph::{Fs, Graph, Op, Origin};
use crate::idle::Idle;
use crate::progress::Progress;
use crate::promise::{Left, Settled};
use crate::request::{Env, Image, Outlet, Request};
use crate::solve::Once;
use crate::source::Materials;
use crate::transfer::{Imports, Promise};
use dockerfile::Span;
use dockerfile::ignore::Ignore;
use oci::{ChainId, Digest, Platform};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use store::Lease;
use sys::mount::Overlay;
use sys::root::Root;

/// Where the indices of contexts are, below the platform's root.
pub(crate) const FILE_INDEX: &str = "file-index";

/// The Dockerfile as text, to point at.
pub(crate) struct SourceFile {
    pub name: String,
    pub text: String,
}

impl SourceFile {
    /// A place in it, rendered.
    pub fn place(&self, span: Span) -> Place {
        let excerpt = match self.text.as_str() {
            // A graph need not be made of a text.
            "" => String::new(),
            text => dockerfile::render::excerpt(&self.name, text, span),
        };
        Place { file: self.name.clone(), span, excerpt }
    }
}

/// A context that files are taken from.
pub(crate) struct ContextTree {
    pub root: Root,
    pub ignore: Ignore,
    /// When it is from, if its source says so.
    pub time: Time,
}

impl ContextTree {
    /// Whether there is something at this path that a build may read.
    pub fn has(&self, path: &str) -> bool {
        self.root.lstat(Path::new(path)).is_ok() && !self.ignore.is_ignored(path)
    }
}

/// What a node of the graph gave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output {
    /// What is left in the mounts that are kept.
    pub mounts: Vec<Option<ChainId>>,
    /// The layer stack; none is empty.
    pub chain: Option<ChainId>,
    /// The operation added a layer.
    pub layer: bool,
    /// It was made by this build, and is from nowhere else.
    pub made: bool,
    /// When, RFC 3339.
    pub created: String,
    /// The steps of this build that gave it: one, or those of its parts where it was only put together.
    pub steps: Vec<u64>,
}

/// What the steps for all platforms share: what one has done, no other does again.
#[derive(Default)]
pub(crate) struct Shared {
    pub once: Once<Digest, Output>,
    /// Snapshots of directories for bind mounts.
    pub snapshots: Once<String, PathBuf>,
    /// What is in directories and files of layer stacks that are mounted.
    pub mounted: Once<(ChainId, String), Arc<BTreeMap<String, String>>>,
    /// Cache mounts that began anew.
    pub renewed: Once<String, ()>,
    /// What is known of the files of contexts.
    pub indices: Indices,
    /// The directories of layer stacks that a lease holds.
    stacks: Mutex<HashMap<ChainId, Arc<[PathBuf]>>>,
    /// Networks that wait for the next step.
    pub networks: Idle,
    /// A step has failed: stop.
    pub aborted: AtomicBool,
    /// A cache did not have what it said it has: what was found by that is to be looked up anew.
    pub lost: AtomicBool,
}

/// What the steps for one platform share.
pub(crate) struct Session<'a> {
    pub env: &'a Env,
    pub request: &'a Request,
    pub epoch: Epoch,
    pub lease: &'a Lease,
    pub graph: &'a Graph,
    /// What is built for.
    pub platform: &'a Platform,
    pub images: &'a [Image],
    /// What a client says of the result.
    pub claims: &'a Claims,
    pub context: &'a ContextTree,
    pub named: &'a BTreeMap<String, ContextTree>,
    pub progress: &'a Progress<'a>,
    pub file: &'a SourceFile,
    /// What all platforms of the build share.
    pub shared: &'a Shared,
    /// It is built to be compared with another: the cache does not learn of it.
    pub isolated: bool,
    /// Records from elsewhere.
    pub imports: &'a Imports,
    /// What is known of nodes before anything is made, so that they are not looked at again.
    pub settled: BTreeMap<usize, Settled>,
    /// The layers of the result, if they are left where they are.
    pub left: Option<Left>,
    /// Keys of the records that were hit or made.
    pub used: Mutex<BTreeSet<Digest>>,
    /// What its contexts and steps took from elsewhere.
    pub materials: Mutex<Materials>,
    /// Directories of the cache mounts that its steps name.
    pub cache_mounts: Mutex<BTreeSet<String>>,
    /// Records of earlier builds, once somebody asks what changed.
    pub earlier: OnceLock<Vec<state::cache::Entry>>,
    pub ran: AtomicU64,
    pub cached: AtomicU64,
}

impl<'a> Session<'a> {
    /// Notes that a record belongs to this build.
    pub fn note(&self, key: &Digest) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    }

    /// What its contexts and steps took from elsewhere, to add to it or to tell it.
    pub fn materials(&self) -> MutexGuard<'_, Materials> {
        self.materials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registries that are all that the result is for, unless something reads its layers on their way.
    pub fn outlet(&self) -> Option<&Outlet> {
        let (request, export) = (self.request, &self.request.export);
        let reads = request.verify || request.squash || !self.env.cache_to.is_empty();
        let written = export.force || export.inline_cache || export.sbom || export.file_statements;
        self.env.outlet.as_ref().filter(|_| !reads && !written)
    }

    /// The time after which no file of a layer is, in seconds since 1970, where that is asked for.
    pub fn latest(&self) -> Option<i64> {
        self.epoch.written.filter(|_| self.request.rewrite_timestamp)
    }

    /// What this build takes from elsewhere without its layers.
    pub fn promises(&self) -> Vec<Promise> {
        let promised = self.settled.values().filter_map(|settled| settled.promise.as_ref());
        promised
            .flat_map(|promise| self.imports.twins(promise).into_iter().chain([promise.clone()]))
            .collect()
    }

    /// Notes that a step of this build uses this directory of a cache mount.
    pub fn note_cache_mount(&self, name: String) {
        self.cache_mounts.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    }

    /// Whether work should stop.
    pub fn stopped(&self) -> bool {
        self.request.cancel.is_cancelled() || self.failed()
    }

    /// Whether a step of this build has failed.
    pub fn failed(&self) -> bool {
        self.shared.aborted.load(Ordering::SeqCst)
    }

    /// The node number of a file system; none for scratch.
    pub fn node(&self, fs: &Fs) -> Option<usize> {
        match fs {
            Fs::Scratch => None,
            Fs::Image(i) => Some(*i),
            Fs::Op(i) => Some(self.graph.images.len() + i),
        }
    }

    /// A step's error.
    pub fn step_error(&self, op: &Op, message: impl Into<String>) -> Box<StepError> {
        Box::new(StepError {
            place: self.place(op.span),
            instruction: op.instruction.clone(),
            message: message.into(),
            process: None,
            output: String::new(),
            hint: None,
            source: None,
            left: None,
            spot: None,
        })
    }

    /// A place in the Dockerfile; none of what no line of it asks for.
    pub fn place(&self, span: Span) -> Place {
        match span == Span::default() && !self.file.text.is_empty() {
            true => Place::default(),
            false => self.file.place(span),
        }
    }

    /// The context that an origin means.
    pub fn context_of(&self, origin: &Origin) -> Option<&'a ContextTree> {
        match origin {
            Origin::Context(None) => Some(self.context),
            Origin::Context(Some(name)) => self.named.get(name),
            Origin::Fs(_) => None,
        }
    }

    /// What is known of the files of a context; of those of a stage its layers say enough.
    pub fn index(&self, tree: &Tree<'_>) -> Result<Option<Arc<Index>>, files::Error> {
        let directory = self.env.store.root().join(FILE_INDEX);
        tree.is_context.then(|| self.shared.indices.of(&directory, tree.root)).transpose()
    }

    /// Writes down what was learned of the contexts. It only saves time, so whatever goes wrong is not the build's failure.
    pub fn keep_indices(&self) {
        for context in [self.context].into_iter().chain(self.named.values()) {
            let _ = self.shared.indices.save(
                &context.root,
                &self.env.store.root().join("ingest"),
                &self.lease.scratch(),
            );
        }
    }

    /// The directories of a layer stack that this build holds, topmost first. A stack that is held doesn't change: each layer's
    /// description is read once.
    pub fn layer_dirs(&self, chain: Option<&ChainId>) -> Result<Arc<[PathBuf]>, store::Error> {
        let Some(chain) = chain else { return Ok(Arc::default()) };
        let known = || self.shared.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directories) = known().get(chain) {
            return Ok(Arc::clone(directories));
        }
        let none = || store::Error::NoLayer(chain.clone());
        let layer = self.env.store.layer(chain)?.ok_or_else(none)?;
        if ChainId::on(layer.parent.as_ref(), &layer.diff_id) != *chain {
            return Err(none());
        }
        let below = self.layer_dirs(layer.parent.as_ref())?;
        let own = self.env.store.own_dirs(&layer)?;
        let directories: Arc<[PathBuf]> =
            store::each_once(own.into_iter().chain(below.iter().cloned())).into();
        known().insert(chain.clone(), Arc::clone(&directories));
        Ok(directories)
    }

    /// A layer stack mounted read-only; none for an empty one.
    pub fn view(&self, chain: Option<&ChainId>) -> Result<Option<Root>, Error> {
        if chain.is_none() {
            return Ok(None);
        }
        let store = |source| Error::Store { attempt: "find layers", source };
        let lower = self.layer_dirs(chain).map_err(|e| store(e.into()))?.to_vec();
        let mount = Overlay { lower, ..Overlay::default() }
            .mount()
            .map_err(|e| Error::Store { attempt: "mount layers", source: e.into() })?;
        let root = Root::from_fd(mount);
        root.map(Some).map_err(|source| Error::Io { attempt: "open", path: "layers".into(), source })
    }

    /// A new directory for work in progress; it goes with the lease at the latest.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        let path = self.lease.scratch();
        make_private(&path)?;
        Ok(Scratch { path })
    }
}

/// A tree as a step sees it.
pub(crate) fn tree<'t>(
    root: &'t Root,
    context: Option<&'t ContextTree>,
    cancelled: &'t (dyn Fn() -> bool + Sync),
) -> Tree<'t> {
    Tree { root, ignore: context.map(|c| &c.ignore), is_context: context.is_some(), cancelled }
}

/// A directory that is removed when it is no longer needed.
pub(crate) struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    /// Makes a directory in it.
    pub fn dir(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::create_dir(&path).map_err(io_error("make", &path))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).map_err(io_error("set mode of", &path))?;
        Ok(path)
    }

    /// Writes a file in it.
    pub fn file(&self, name: &str, content: &[u8], mode: u32) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::write(&path, content).map_err(io_error("write", &path))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode).map_err(io_error("set mode of", &path))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is removed with the lease.
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else { return };
        if let Ok(root) = Root::open(parent) {
            let _ = root.remove_all(name);
        }
    }
}

/// Makes a directory that nobody else can enter.
pub(crate) fn make_private(path: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(io_error("make", path))
}

/// Adds attempt and path to an error of the system.
pub(crate) fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { attempt, path, source }
}
