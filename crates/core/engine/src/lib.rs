//! The use cases of the platform: containers, images, networks, volumes, exec, builds, events and prune.
//!
//! One folder a noun, one file a verb, each a free async function that takes the [`Engine`]. Documents in and out are
//! those of the Docker Engine API. The engine holds no authority in memory: definitions live in the database,
//! runtime facts in each container's own directory, so any number of engines on one root behave as one. It must not
//! know HTTP, print, or read the environment.
//!
//! Work that touches the kernel, files or the database is synchronous and runs on the blocking pool; dropping a
//! returned future or receiver ends streaming work.

pub mod builds;
pub mod containers;
pub mod error;
mod events;
pub mod exec;
mod ids;
pub mod images;
mod lock;
mod machine;
pub mod networks;
mod pipe;
mod privileges;
mod registries;
pub mod spec;
pub mod system;
mod undo;
pub mod volumes;
mod watch;

pub use error::{Error, Failure, Kind, Result};
pub use registry::{Places as RegistryPlaces, Proxies};
pub use store::Form as LayerForm;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use error::Context as _;
use monitor::client::Spare;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// The root of an engine that nobody told otherwise.
pub const DEFAULT_ROOT: &str = "/var/lib/dhow";

/// Where an engine lives and what it may call.
#[derive(Debug, Clone)]
pub struct Config {
    /// Persistent state, `/var/lib/dhow`.
    pub root: PathBuf,
    /// State that ends with the machine's uptime, `/run/dhow`.
    pub run: PathBuf,
    /// The `dhow` binary: spawned as `monitor` and `cleanup`, bound into containers as their init.
    pub exe: PathBuf,
    /// Registries that are spoken to over plain HTTP or unverified TLS, as `host[:port]`; loopback always is.
    pub insecure_registries: Vec<String>,
    /// Addresses of mirrors of Docker Hub, asked before those of the administrator's files.
    pub registry_mirrors: Vec<String>,
    /// Proxies on the way to registries and other hosts, unless those files name others.
    pub proxies: Proxies,
    /// Where the administrator's files about registries lie; none are read without.
    pub registries: RegistryPlaces,
    /// Files of which the first that is there says which images must be signed (`containers-policy.json(5)`).
    pub policies: Vec<PathBuf>,
    /// Where vendors describe devices; of two files that describe the same one, the later directory's counts.
    pub cdi_directories: Vec<PathBuf>,
    /// What unpacking a layer or an archive of images may cost.
    pub unpack: archive::Limits,
    /// What becomes of the layers that come from elsewhere.
    pub layers: LayerForm,
    /// How long pulls wait for each other.
    pub patience: images::Patience,
    /// What images and the build cache may take of the disk.
    pub storage: system::Storage,
    /// Version text of the product, for `version` and `info`.
    pub version: String,
    /// There is one command in this process and no other client: what is brief is done on its own thread.
    pub alone: bool,
    /// And that command starts the container that it makes: its monitor comes up meanwhile.
    pub starts: bool,
    /// And that command is about what runs, of which monitors know: nothing is opened before it turns out to be needed.
    pub late: bool,
}

impl Config {
    /// A configuration with these three places and nothing special.
    pub fn new(root: impl Into<PathBuf>, run: impl Into<PathBuf>, exe: impl Into<PathBuf>) -> Config {
        Config {
            root: root.into(),
            run: run.into(),
            exe: exe.into(),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            proxies: Proxies::default(),
            registries: RegistryPlaces::default(),
            policies: Vec::new(),
            cdi_directories: runtime::cdi::DIRECTORIES.map(PathBuf::from).to_vec(),
            unpack: archive::Limits::default(),
            layers: LayerForm::default(),
            patience: images::Patience::default(),
            storage: system::Storage::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            alone: false,
            starts: false,
            late: false,
        }
    }
}

/// One engine on one root. Cheap to clone; clones share the database connections.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    db: state::Db,
    store: store::Store,
    mark: OnceLock<String>,
    /// Whether the root was made ready.
    ready: Mutex<bool>,
    /// The monitor to be of the container with this id.
    spare: Mutex<Option<(String, Spare)>>,
    /// Where there is one command in this process: the further process that it runs.
    exec: Mutex<Option<exec::Held>>,
    /// The limits that builds of one group share, while there are such.
    groups: Mutex<HashMap<String, Weak<builder::Gate>>>,
    lent: builds::Lent,
}

impl Engine {
    /// Opens the root (made when missing), migrates the database and makes the default networks known.
    pub async fn open(config: Config) -> Result<Engine> {
        if config.alone {
            return Engine::open_blocking(config);
        }
        tokio::task::spawn_blocking(move || Engine::open_blocking(config)).await.system()?
    }

    fn open_blocking(config: Config) -> Result<Engine> {
        let db = state::Db::unopened(config.root.join("state.db"));
        let store = store::Store::unopened(&config.root, &db, config.unpack, config.layers);
        let inner = Inner {
            config,
            db,
            store,
            mark: OnceLock::new(),
            ready: Mutex::default(),
            spare: Mutex::default(),
            exec: Mutex::default(),
            groups: Mutex::default(),
            lent: builds::Lent::default(),
        };
        let engine = Engine { inner: Arc::new(inner) };
        if !engine.config().late {
            engine.make_ready()?;
        }
        Ok(engine)
    }

    /// Makes what lacks of the root, and opens the database. Once for each engine: at once, but where [`Config::late`] says
    /// otherwise.
    pub(crate) fn make_ready(&self) -> Result<()> {
        let mut ready = self.inner.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ready {
            self.prepare_root()?;
            *ready = true;
        }
        Ok(())
    }

    fn prepare_root(&self) -> Result<()> {
        let config = self.config();
        for (path, mode) in [(&config.root, 0o711), (&config.run, 0o711)] {
            private_dir(path, mode)?;
        }
        let containers = config.root.join("containers");
        if !containers.exists() {
            private_dir(&containers, 0o711)?;
            spread(&containers);
        }
        for name in ["volumes", "ingest"] {
            private_dir(&config.root.join(name), 0o711)?;
        }
        for name in ["containers", "exec", "builds", "names", "networks"] {
            private_dir(&config.run.join(name), 0o700)?;
        }
        containers::skeleton::ensure(&config.root)?;
        // Looked at before the database: whoever makes these has made it first.
        let used =
            ["containers", "volumes", "layers"].iter().any(|name| has_entries(&config.root.join(name)));
        self.db().prepare_file(used).during("open the database")?;
        self.store().make_directories().during("open the store")?;
        networks::ensure_predefined(self)
    }

    /// Where this engine lives.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// A new identity for what this root makes in the kernel.
    pub(crate) fn new_id(&self) -> Result<String> {
        ids::marked(self.mark())
    }

    /// The further process of the one command of this process.
    pub(crate) fn held_exec(&self) -> &Mutex<Option<exec::Held>> {
        &self.inner.exec
    }

    /// What identities of this root end with.
    pub(crate) fn mark(&self) -> &str {
        self.inner.mark.get_or_init(|| ids::mark(&self.config().root))
    }

    /// Has a monitor come up for a container that is being made, where it is known to be started next.
    pub(crate) fn spawn_spare(&self, id: &str) {
        if !self.config().starts {
            return;
        }
        // Without one, the start spawns it, and tells what is wrong.
        if let Ok(spare) = Spare::spawn(&self.config().exe, id) {
            *self.inner.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some((id.to_owned(), spare));
        }
    }

    /// Results of builds that are still handed out.
    pub(crate) fn lent(&self) -> &builds::Lent {
        &self.inner.lent
    }

    /// The limit that the builds of a group share; there is none for a build of its own.
    pub(crate) fn gate(&self, group: &str, jobs: usize) -> Option<Arc<builder::Gate>> {
        if group.is_empty() {
            return None;
        }
        let mut groups = self.inner.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|_, gate| gate.strong_count() > 0);
        let known = groups.get(group).and_then(Weak::upgrade);
        Some(known.unwrap_or_else(|| {
            let gate = Arc::new(builder::Gate::new(builder::workers(jobs)));
            groups.insert(group.to_owned(), Arc::downgrade(&gate));
            gate
        }))
    }

    /// The monitor to be of this container, if it has one.
    pub(crate) fn take_spare(&self, id: &str) -> Option<Spare> {
        let mut spare = self.inner.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.take_if(|(of, _)| of == id).map(|(_, spare)| spare)
    }

    /// Reaps a monitor that this process has spawned when it ends; with a process that lives for one command, whoever adopts
    /// orphans does.
    pub(crate) fn reap(&self, mut monitor: Child) {
        if self.config().alone {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            // Listened for before the first look: an end between the two is not missed.
            let mut ends = signal(SignalKind::child()).ok()?;
            while let Ok(None) = monitor.try_wait() {
                ends.recv().await?;
            }
            Some(())
        });
    }

    /// Whether an identity found in the kernel is this root's.
    pub(crate) fn is_ours(&self, id: &str) -> bool {
        ids::has_mark(id, self.mark())
    }

    /// The database.
    pub fn db(&self) -> &state::Db {
        &self.inner.db
    }

    /// Blobs and layers.
    pub fn store(&self) -> &store::Store {
        &self.inner.store
    }

    /// Runs synchronous work of an operation on the blocking pool.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        let engine = self.clone();
        match tokio::task::spawn_blocking(move || work(&engine)).await {
            Ok(result) => result,
            Err(e) => Err(Error::system(format!("operation did not finish: {e}"))),
        }
    }

    /// As [`Engine::blocking`], for work of few milliseconds that waits for nobody but monitors. Where there is one command
    /// in the process, nothing else wants its thread meanwhile: another one would cost more than it is good for.
    pub(crate) async fn brief<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        if self.config().alone { work(self) } else { self.blocking(work).await }
    }
}

fn has_entries(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// Makes a directory (and parents) that other users cannot list, whatever the umask; an existing one keeps its mode.
fn private_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .during(format_args!("create directory {}", path.display()))
}

/// Tells the file system, where it wants to know (ext4), that what is in this directory does not belong together. Without it
/// all containers' files have their inodes in one place, and ext4 without a journal looks at each one that was deleted there
/// in the last minutes before it makes a new one.
fn spread(dir: &Path) {
    use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let _ = rustix::fs::open(dir, flags, Mode::empty())
        .and_then(|dir| ioctl_setflags(&dir, ioctl_getflags(&dir)? | IFlags::TOPDIR));
}

#[cfg(test)]
mod tests;
