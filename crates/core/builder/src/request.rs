//! What a build needs: the surroundings ([`Env`]) and the order ([`Request`]).

use crate::context::Reads;
use crate::error::BoxError;
use crate::export::options::Options as Export;
use crate::graph::Asking;
use crate::lower::AllowedDevices;
use crate::policy::Policy;
use crate::solve::Gate;
use crate::transfer::{CacheOrigin, CacheTarget, Earlier};
use oci::image::{Descriptor, ImageConfig, Manifest};
use oci::{Digest, Platform, Reference};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The surroundings of builds. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Layers and blobs.
    pub store: store::Store,
    /// The build cache.
    pub db: state::Db,
    /// Directories of cache mounts (`R/cache-mounts`).
    pub cache_mounts: PathBuf,
    /// A directory in memory for what must not reach the disk (`RUN/build`); made if it is missing. What lies in it
    /// begins with the id of its build's lease.
    pub run: PathBuf,
    /// Gives a `RUN` its network.
    pub network: Networks,
    /// Finds the image of a `FROM`, here or in its registry.
    pub images: Images,
    /// Fetches the URL of an `ADD`; without it such an `ADD` is an error.
    pub fetch: Option<Fetch>,
    /// Directories of this machine may be named as repositories (`file://`): whoever builds may read them anyway.
    pub local_repositories: bool,
    /// What a build may take from elsewhere, and in whose place; images are [`Env::images`]' own.
    pub policy: Option<Policy>,
    /// Gives a secret that the request does not hold.
    pub secrets: Option<Secrets>,
    /// Gives an agent that the request does not name.
    pub agents: Option<Agents>,
    /// Bring the files of contexts that the client sends; none is the main one.
    pub client: BTreeMap<Option<String>, Bring>,
    /// Caches to take results from.
    pub cache_from: Vec<CacheOrigin>,
    /// Caches to send results to.
    pub cache_to: Vec<CacheTarget>,
    /// What solves before, of the same build, have used: it is sent as well.
    pub earlier: Arc<Earlier>,
    /// Keeps the images of the result from whoever clears up, where they are handed out after the build.
    pub held: Option<Held>,
    /// Registries that are all that the result is for.
    pub outlet: Option<Outlet>,
    /// What the paths of the control groups of `RUN` processes begin with; the id of the build's lease follows. Empty
    /// for none.
    pub cgroup_prefix: String,
    /// How many steps run at once at most; 0 takes twice the number of processors, and 16 at least.
    pub workers: usize,
    /// The limit on steps that run at once which several builds share.
    pub gate: Option<Arc<Gate>>,
    /// Where vendors describe devices.
    pub cdi: Vec<PathBuf>,
}

/// Gives a network of the wanted kind.
pub type Networks = Arc<dyn Fn(&NetMode) -> Result<NetHandle, BoxError> + Send + Sync>;
/// Finds an image. What is to be told of it while that takes long is given to the second parameter, a line each.
pub type Images =
    Arc<dyn Fn(&ImageRequest, &(dyn Fn(String) + Sync)) -> Result<Image, BoxError> + Send + Sync>;
/// Fetches a URL.
pub type Fetch = Arc<dyn Fn(&FetchRequest<'_>) -> Result<Fetched, BoxError> + Send + Sync>;
/// Finds a secret by its id, if there is one.
pub type Secrets = Arc<dyn Fn(&str) -> Result<Option<Vec<u8>>, BoxError> + Send + Sync>;
/// Finds the socket of an ssh agent by its id, if there is one; it is there as long as the build is.
pub type Agents = Arc<dyn Fn(&str) -> Result<Option<PathBuf>, BoxError> + Send + Sync>;

/// What holds a result.
#[derive(Clone)]
pub struct Held {
    /// It pins all that the result consists of.
    pub lease: Arc<store::Lease>,
    /// Without a name the images are there for it alone, and go with the last lease that holds them.
    pub lent: bool,
}

/// Has the client send what a build reads of a context.
pub type Bring = Arc<dyn Fn(&Reads) -> Result<Sent, BoxError> + Send + Sync>;

/// Files that a client has sent, which stay as long as the build runs.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Where they are.
    pub path: PathBuf,
    /// The text of the context's ignore file. For the main context the Dockerfile comes with it.
    pub ignore: Option<String>,
}

/// The network of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetMode {
    /// The bridge that builds are attached to.
    Bridge,
    /// Loopback only.
    None,
    /// The host's.
    Host,
    /// A network by name or id.
    Named(String),
    /// That of a container, by name or id, which must run.
    Container(String),
}

impl NetMode {
    /// Reads a mode as requests spell it; none for one that names no container.
    pub fn parse(text: &str) -> Option<NetMode> {
        Some(match text {
            "" | "default" | "bridge" => NetMode::Bridge,
            "none" => NetMode::None,
            "host" => NetMode::Host,
            "container:" => return None,
            name => match name.strip_prefix("container:") {
                Some(container) => NetMode::Container(container.to_owned()),
                None => NetMode::Named(name.to_owned()),
            },
        })
    }
}

impl fmt::Display for NetMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetMode::Bridge => f.write_str("default"),
            NetMode::None => f.write_str("none"),
            NetMode::Host => f.write_str("host"),
            NetMode::Named(name) => f.write_str(name),
            NetMode::Container(container) => write!(f, "container:{container}"),
        }
    }
}

/// A network as given. Dropping `keep` takes it down.
pub struct NetHandle {
    /// The namespace; without one the process shares the host's.
    pub netns: Option<OwnedFd>,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Lines for `/etc/hosts` besides those of localhost.
    pub hosts: Vec<(String, String)>,
    /// Whatever must live as long as the network is used.
    pub keep: Box<dyn Any + Send>,
}

impl NetHandle {
    /// No network of its own.
    pub(crate) fn host() -> Self {
        Self { netns: None, resolv_conf: String::new(), hosts: Vec::new(), keep: Box::new(()) }
    }
}

/// Which image is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRequest {
    /// The reference as the Dockerfile has it, expanded.
    pub reference: String,
    /// For which platform.
    pub platform: Platform,
    /// All platforms that the build wants it for, as far as it knows by now: they are of one version.
    pub platforms: BTreeSet<Platform>,
    /// Ask the registry even if the image is here.
    pub pull: bool,
}

/// A base image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of its manifest.
    pub digest: Digest,
    /// What its name stands for, its manifest or an index, by the digest that the name's repository has it under.
    pub root: Digest,
    /// Its manifest: the layers' descriptors go to the new manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Gets its layers into the store; none where they are there.
    pub layers: Option<LayersOf>,
}

impl Image {
    /// One whose layers are in the store.
    pub fn here(digest: Digest, manifest: Manifest, config: ImageConfig) -> Image {
        Image { root: digest.clone(), digest, manifest, config, layers: None }
    }
}

/// Gets the layers of an image into the store, once for all who ask. Clones are the same.
#[derive(Clone)]
pub struct LayersOf {
    bring: Arc<BringLayers>,
    /// The name by which its registry has them.
    from: Option<Reference>,
}

/// Tells lines meanwhile by its first parameter, and ends soon once its second one says so.
type BringLayers =
    dyn Fn(&(dyn Fn(String) + Sync), &(dyn Fn() -> bool + Sync)) -> Result<(), BoxError> + Send + Sync;

impl LayersOf {
    /// Those that this gets: it may be called more than once.
    pub fn new(
        bring: impl Fn(&(dyn Fn(String) + Sync), &(dyn Fn() -> bool + Sync)) -> Result<(), BoxError>
        + Send
        + Sync
        + 'static,
    ) -> LayersOf {
        LayersOf { bring: Arc::new(bring), from: None }
    }

    /// The same of an image that a registry has under this name.
    pub fn in_repository(self, name: Reference) -> LayersOf {
        LayersOf { from: Some(name), ..self }
    }

    /// Where they are, for another repository of the same registry to take them from.
    pub(crate) fn from(&self) -> Option<&Reference> {
        self.from.as_ref()
    }

    /// Has them in the store, unless `stopped` says that nobody wants them any more.
    pub(crate) fn bring(
        &self,
        told: &(dyn Fn(String) + Sync),
        stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), BoxError> {
        (self.bring)(told, stopped)
    }
}

impl fmt::Debug for LayersOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LayersOf")
    }
}

/// Registries that are all that a result is for: it does not stay here if it has layers that are not here and that they have.
#[derive(Clone)]
pub struct Outlet {
    /// What the result is called there.
    pub names: Vec<Reference>,
    /// Whether the repository of a name has all of these layers, or has got them from another one of its registry.
    pub has: HasLayers,
    /// Sends the document of this digest and all that it names there, but for these layers; what the registry knows it by.
    pub send: SendResult,
}

/// See [`Outlet::has`].
pub type HasLayers = Arc<dyn Fn(&Reference, &[LeftLayer]) -> bool + Send + Sync>;
/// See [`Outlet::send`].
pub type SendResult =
    Arc<dyn Fn(&Reference, &Digest, &[LeftLayer]) -> Result<Descriptor, BoxError> + Send + Sync>;

/// A layer of a result that is left where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftLayer {
    /// As the manifest names it.
    pub descriptor: Descriptor,
    /// What has it in a registry.
    pub from: Option<Reference>,
}

/// A URL, and what the server said of what it gave the last time: with these marks it need not give the same again.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    /// The URL.
    pub url: &'a str,
    /// How its server is asked.
    pub asking: &'a Asking,
    /// `ETag`.
    pub etag: Option<&'a str>,
    /// `Last-Modified`.
    pub last_modified: Option<&'a str>,
}

/// A URL's content.
pub struct Fetched {
    /// It is what the request's marks belong to; there is no body.
    pub unchanged: bool,
    /// The bytes.
    pub body: Box<dyn Read + Send>,
    /// File name that the server proposes (`Content-Disposition`).
    pub file_name: Option<String>,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
    /// `ETag` as it stands.
    pub etag: Option<String>,
    /// `Last-Modified` as it stands.
    pub last_modified: Option<String>,
}

/// Where the files come from.
pub enum Context {
    /// A directory of this machine.
    Dir(PathBuf),
    /// A tar archive, compressed or not.
    Tar(Box<dyn Read + Send>),
    /// The address of a repository, of an archive, or of a Dockerfile.
    Remote(String),
    /// Nothing: a Dockerfile alone.
    Empty,
    /// A directory of the client, who is asked for what the build reads of it ([`Env::client`]). The Dockerfile and its ignore file
    /// come with the request.
    Client,
}

/// A context besides the main one, for `FROM` and `--from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory of this machine.
    Dir(PathBuf),
    /// An image.
    Image(String),
    /// The address of a repository or of an archive.
    Remote(String),
    /// A directory of the client, who is asked for what the build reads of it ([`Env::client`]).
    Client,
}

/// The Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A path in the context; `None` is `Dockerfile`.
    InContext(Option<String>),
    /// Its text.
    Text {
        /// What to call it in messages.
        name: String,
        /// The bytes.
        bytes: Vec<u8>,
        /// The text of the ignore file that goes with it; without, it is looked for in the context.
        ignore: Option<String>,
    },
}

/// Resource limits of `RUN` processes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// For the control group.
    pub resources: Option<oci::runtime::Resources>,
    /// For the processes.
    pub rlimits: Vec<oci::runtime::Rlimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// The control group that those of the processes are made in; empty for the builder's own.
    pub cgroup_parent: String,
}

/// One build; its context is given apart, because a stream can be read once.
#[derive(Debug, Clone)]
pub struct Request {
    /// Further contexts by name; an image may be for one platform only, as `name::linux/arm64`.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// The recipe.
    pub dockerfile: DockerfileSource,
    /// The stage to build; the last one without.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// What to build for; this machine without. Several give an index.
    pub platforms: Vec<Platform>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Names of the result.
    pub tags: Vec<Reference>,
    /// Take nothing from the cache.
    pub no_cache: bool,
    /// Take nothing from the cache in these stages.
    pub no_cache_filter: Vec<String>,
    /// Ask the registry for newer base images.
    pub pull: bool,
    /// Network of `RUN`s that do not say otherwise.
    pub network: NetMode,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of ssh agents by id (`default`, …).
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits of `RUN` processes.
    pub limits: Limits,
    /// What the result shall look like.
    pub export: Export,
    /// Merge the layers that the build adds into one.
    pub squash: bool,
    /// Seconds since 1970 that stand for "now" in what is written, whatever build argument and Dockerfile say; an inner none
    /// is now itself.
    pub source_date_epoch: Option<Option<i64>>,
    /// Where a time stands for now: no file of a new layer is newer than that.
    pub rewrite_timestamp: bool,
    /// Files of contexts that a failed step has mounted are kept for whoever looks around there.
    pub keep_mounts: bool,
    /// `RUN --security=insecure` is allowed.
    pub allow_insecure: bool,
    /// `RUN --network=host` is allowed; it also is if `network` is the host's.
    pub allow_host_network: bool,
    /// The devices that `RUN --device` may name.
    pub allow_devices: AllowedDevices,
    /// Build a second time without the cache, and fail if that gives another image.
    pub verify: bool,
    /// Nobody wants the result: its steps are for the cache, and no image is written of it.
    pub cache_only: bool,
    /// Read trailing `# …` as Docker does.
    pub strict: bool,
    /// Only the context's `.dockerignore` counts, as with Docker's classic builder, and none of the Dockerfile's own.
    pub common_ignore: bool,
    /// The directory of the main context that its files are in; the Dockerfile is not looked for there.
    pub context_subdir: Option<String>,
    /// Set it to stop the build.
    pub cancel: CancelToken,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            named_contexts: BTreeMap::new(),
            dockerfile: DockerfileSource::InContext(None),
            target: None,
            build_args: BTreeMap::new(),
            platforms: Vec::new(),
            labels: BTreeMap::new(),
            tags: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            pull: false,
            network: NetMode::Bridge,
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            extra_hosts: Vec::new(),
            limits: Limits::default(),
            export: Export::default(),
            squash: false,
            source_date_epoch: None,
            rewrite_timestamp: false,
            keep_mounts: false,
            allow_insecure: false,
            allow_host_network: false,
            allow_devices: AllowedDevices::default(),
            verify: false,
            cache_only: false,
            strict: false,
            common_ignore: false,
            context_subdir: None,
            cancel: CancelToken::default(),
        }
    }
}

impl Request {
    /// Whether an image is written of the result: comparing two takes one as well.
    pub(crate) fn wants_image(&self) -> bool {
        !self.cache_only || self.verify
    }
}

/// Tells a build to stop. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Stops the build soon: running processes are killed.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Has what is packed and unpacked for a lease end with the build.
    pub(crate) fn stops(&self, lease: &store::Lease) {
        let cancel = self.clone();
        lease.stop_when(move || cancel.is_cancelled());
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A finished build.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The image, and what it has; none where nobody wanted one ([`Request::cache_only`]).
    pub result: Option<BuiltResult>,
    /// Steps that ran, and steps that were taken from the cache.
    pub ran: u64,
    /// See `ran`.
    pub cached: u64,
    /// Seconds since 1970 that stood for now.
    pub source_date_epoch: Option<i64>,
}

/// The result of a finished build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltResult {
    /// Digest of the image configuration: the image id.
    pub image_id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// The names that it got.
    pub tags: Vec<Reference>,
    /// What the names stand for: the manifest, or the index of several.
    pub target: Descriptor,
    /// The images, one a platform. The fields above are those of the one that fits this machine best.
    pub images: Vec<BuiltImage>,
    /// Where it was sent to, and what it is there. It did not stay here then, and [`BuiltResult::documents`] has its manifests.
    pub sent: Vec<(Reference, Descriptor)>,
    /// The manifests of a result that did not stay, with their index, by their digests.
    pub documents: BTreeMap<Digest, Vec<u8>>,
}

/// One platform's image of a finished build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltImage {
    /// Digest of the configuration.
    pub image_id: Digest,
    /// The manifest.
    pub manifest: Descriptor,
    /// For which platform.
    pub platform: Platform,
    /// How it was made, if that was asked for: a SLSA predicate.
    pub provenance: Option<serde_json::Value>,
    /// A list of the packages in it in SPDX, if that was asked for.
    pub sbom: Option<serde_json::Value>,
    /// What is attested of its files, if that was asked for: in-toto statements by the names that they have as files.
    pub statements: Vec<(String, serde_json::Value)>,
}
