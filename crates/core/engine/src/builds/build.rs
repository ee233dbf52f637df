//! `docker build`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::build::{BuildExtras, BuildOptions};
use api::containers::Resources;
use base64::Engine as _;
use builder::{
    Bring, Built, CancelToken, Context as Files, DockerfileSource, Earlier, Env, Event, Held, Limits,
    NamedContext, NetMode, Request,
};
use bytes::Bytes;
use futures_util::Stream;
use oci::{Platform, Reference};
use tokio::sync::mpsc::Sender;

use super::bases::{Waiting, base_images, known};
use super::caches::{self, Directories};
use super::contents::Contents;
use super::entitled::Entitled;
use super::history::{self, Recorder};
use super::policy::{AskPolicy, Policies};
use super::reach::Reach;
use super::under_way::UnderWay;
use super::{asked, fetch, groups, leftovers, network, outlet};
use crate::error::{Error, Failure, Kind, Result};
use crate::images::Who;
use crate::system::budget;
use crate::{Engine, containers, events, machine, networks, pipe, spec};

/// How often a download looks whether its build was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// What contexts that are layouts begin with.
const LAYOUT: &str = "oci-layout://";

/// Where a build's files come from.
pub enum ContextSource {
    /// The body of the request: a tar archive, compressed or not.
    Tar(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
    /// A directory that client and engine share.
    Dir(PathBuf),
    /// The address of a repository, of an archive, or of a Dockerfile.
    Remote(String),
    /// A directory of the client, which sends what is read of it ([`Questions::files`]).
    Client,
    /// No Dockerfile, but what one would mean; its files are contexts by name.
    Graph(Box<builder::Given>),
}

/// One build, and who wants it.
pub struct Order {
    pub options: BuildOptions,
    pub context: ContextSource,
    /// What the client may name by path.
    pub reach: Reach,
    /// For base images and caches, by registry.
    pub credentials: BTreeMap<String, Who>,
    /// What the client can be asked while the build runs.
    pub questions: Questions,
    /// How the build is remembered.
    pub record: Record,
    /// Its client may look around where a step fails.
    pub keep_mounts: bool,
    /// What its solves before this one have used of the cache.
    pub earlier: Arc<Earlier>,
    /// Holds the images of the result, see [`super::Loan`].
    pub held: Option<Held>,
}

/// How a build is remembered.
#[derive(Default)]
pub struct Record {
    /// The record's id; it gets one of its own without.
    pub id: Option<String>,
    /// What a client calls its context, where the path is none of the client's.
    pub context: Option<String>,
    /// What a client of BuildKit's protocols asked with, in its own words; without, what the options say.
    pub attributes: BTreeMap<String, String>,
}

/// What a client answers while its build runs, instead of saying it beforehand. Each is called where it may block.
#[derive(Clone, Default)]
pub struct Questions {
    /// Who the client is to a registry whose name the order's credentials do not hold.
    pub credentials: Option<AskCredentials>,
    pub secrets: Option<builder::Secrets>,
    pub agents: Option<builder::Agents>,
    /// The files of the client's own directories, by the names of the contexts that they are; none is the main one.
    pub files: BTreeMap<Option<String>, Bring>,
    /// The client's own stores: local caches are in these then.
    pub contents: Option<Arc<dyn Contents>>,
    /// What the client says of each source that the build's policies let through.
    pub policy: Option<AskPolicy>,
    /// Images by digest that no policy need be asked about: it was under another name, or they were made here.
    pub answered: Vec<String>,
}

/// Who the client is to the registry of this name.
pub type AskCredentials = Arc<dyn Fn(&str) -> Option<Who> + Send + Sync>;

/// Builds an image. What happens is told through `progress`; a client that goes away, or drops this future, cancels.
pub async fn build(engine: &Engine, mut order: Order, progress: Sender<Event>) -> Result<Built> {
    let gateway = networks::host_gateway(engine).await?;
    let mut request = request(&order.options, gateway)?;
    request.keep_mounts = order.keep_mounts;
    let policies = policies(&order.options, &order.questions, &order.context)?;
    let policies = Arc::new(load_layouts(engine, policies, &order.options.extras, &mut request).await?);
    let client = client_files(std::mem::take(&mut order.questions.files), &mut request)?;
    let verify = order.options.extras.verify;
    let cancel = CancelOnDrop(request.cancel.clone());
    let under_way = UnderWay::begin();
    let work = move |engine: &Engine| {
        let _under_way = under_way;
        prepare(engine, order, policies, client, request)?.run(&progress)
    };
    let built = engine.blocking(work).await;
    drop(cancel);
    let sent = |built: &Built| built.result.as_ref().is_some_and(|result| !result.sent.is_empty());
    look_after_cache(engine, verify || built.as_ref().is_ok_and(sent));
    let built = built?;
    if let Some(result) = &built.result {
        for tag in &result.tags {
            let attributes = BTreeMap::from([("name".to_owned(), tag.familiar())]);
            events::emit(engine, "image", "tag", result.image_id.as_str(), &attributes);
        }
    }
    Ok(built)
}

/// A build of which all is known that it needs.
struct Job {
    env: Env,
    request: Request,
    files: Files,
    /// What takes the place of a Dockerfile.
    given: Option<builder::Given>,
    recorder: Recorder,
    _group: Option<groups::Parent>,
}

/// Looks at all that a build names before its record begins: one that cannot begin has none.
fn prepare(
    engine: &Engine,
    order: Order,
    policies: Arc<Policies>,
    client: BTreeMap<Option<String>, Bring>,
    request: Request,
) -> Result<Job> {
    let Order { options, context, reach, credentials, questions, mut record, earlier, held, .. } = order;
    if record.attributes.is_empty() {
        record.attributes = asked::attributes(&options, &context);
    }
    let Questions { credentials: ask, secrets, agents, contents, .. } = questions;
    let name = history::name(&options, &context, record.context.as_deref());
    let (files, given) = files(context)?;
    let directories = Directories::of(contents.as_ref(), reach);
    let cache_from = caches::origins(engine, &options, &credentials, directories)?;
    let cache_to = caches::targets(engine, &options, &credentials, directories)?;
    let group = groups::hold(engine, &options)?;
    leftovers::forget_secrets(engine);
    let given_secrets = given_or_asked(request.secrets.clone(), secrets.clone());
    let who = known(credentials, ask);
    let env = Env {
        outlet: outlet::outlet(engine, &options, who.clone(), Waiting::new(&request.cancel))?,
        images: base_images(engine, policies.clone(), who, &request.cancel),
        local_repositories: reach == Reach::Files,
        policy: policies.of_builder(),
        fetch: Some(fetch::fetcher(engine, &request.cancel, Some(given_secrets))),
        cache_from,
        cache_to,
        earlier,
        held,
        secrets,
        agents,
        client,
        ..environment(engine, &options, &request.cancel)
    };
    let recorder = Recorder::begin(engine, &options, record, name)?;
    Ok(Job { env, request, files, given, recorder, _group: group })
}

impl Job {
    fn run(self, progress: &Sender<Event>) -> Result<Built> {
        let Job { env, request, files, given, mut recorder, _group } = self;
        let mut tell = |event| {
            recorder.event(&event);
            if progress.blocking_send(event).is_err() {
                request.cancel.cancel();
            }
        };
        let built = match given {
            Some(graph) => builder::build_graph(&env, graph, &request, &mut tell),
            None => builder::build(&env, files, &request, &mut tell),
        };
        let built = built.map_err(failed);
        recorder.end(&built);
        built
    }
}

/// Where a build's files come from, or the graph that takes the place of all.
pub(super) fn files(context: ContextSource) -> Result<(Files, Option<builder::Given>)> {
    let files = match context {
        ContextSource::Graph(graph) => return Ok((Files::Empty, Some(*graph))),
        ContextSource::Tar(stream) => Files::Tar(Box::new(pipe::reader(stream))),
        ContextSource::Dir(path) => Files::Dir(directory("context", &path)?),
        ContextSource::Remote(address) => Files::Remote(address),
        ContextSource::Client => Files::Client,
    };
    Ok((files, None))
}

/// What may be taken from elsewhere.
pub(super) fn policies(
    options: &BuildOptions,
    questions: &Questions,
    context: &ContextSource,
) -> Result<Policies> {
    if let ContextSource::Graph(_) = context {
        // Who made the graph has asked about its sources.
        return Ok(Policies::default());
    }
    let read = Policies::read(&options.extras.source_policies)?;
    Ok(read.asking(questions.policy.clone()).answered(questions.answered.iter().cloned()))
}

/// Loads the images of layouts that are contexts, which the policies know by the names of these.
async fn load_layouts(
    engine: &Engine,
    mut policies: Policies,
    extras: &BuildExtras,
    request: &mut Request,
) -> Result<Policies> {
    for (name, value) in &extras.contexts {
        let Some(address) = value.strip_prefix(LAYOUT) else { continue };
        for (name, platform) in super::layout::by_platform(&context_key(name), &request.platforms) {
            let found = super::layout::find(address, &platform)?;
            let identifier = format!("{LAYOUT}{}", found.identifier);
            let asked = engine.blocking(move |_| policies.layout(&identifier, &platform).map(|()| policies));
            let manifest = found.manifest.to_string();
            policies = asked.await?.answered([manifest.clone()]);
            super::layout::load(engine, found).await?;
            request.named_contexts.insert(name, NamedContext::Image(manifest));
        }
    }
    Ok(policies)
}

/// Takes away what killed builds left and keeps the cache within its budget, after the answer; what a second build made, or what
/// was sent and did not stay, is nobody's.
fn look_after_cache(engine: &Engine, is_more: bool) {
    let (under_way, engine) = (UnderWay::begin(), engine.clone());
    tokio::task::spawn_blocking(move || {
        leftovers::forget(&engine, leftovers::Look::Brief);
        super::cache::look_after(&engine);
        budget::look_after(&engine);
        if is_more && let Err(error) = engine.store().gc() {
            tracing::warn!(%error, "what a build made for others was not removed");
        }
        drop(under_way);
    });
}

/// Stops the build's threads when nobody waits for them any more.
pub(super) struct CancelOnDrop(pub(super) CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The builder's surroundings on this engine.
pub(super) fn environment(engine: &Engine, options: &BuildOptions, cancel: &CancelToken) -> Env {
    let parent = options.cgroup_parent.trim_matches('/');
    Env {
        store: engine.store().clone(),
        db: engine.db().clone(),
        cache_mounts: engine.config().root.join("cache-mounts"),
        run: leftovers::secrets(engine),
        network: network::provider(engine),
        images: base_images(engine, Arc::default(), known(BTreeMap::new(), None), cancel),
        local_repositories: false,
        policy: None,
        fetch: Some(fetch::fetcher(engine, cancel, None)),
        secrets: None,
        agents: None,
        client: BTreeMap::new(),
        cache_from: Vec::new(),
        cache_to: Vec::new(),
        earlier: Arc::default(),
        outlet: None,
        held: None,
        cgroup_prefix: format!(
            "/{}/{}",
            if parent.is_empty() { "dhow" } else { parent },
            leftovers::cgroup_prefix(engine)
        ),
        workers: options.extras.jobs as usize,
        gate: engine.gate(&options.extras.group, options.extras.jobs as usize),
        cdi: engine.config().cdi_directories.clone(),
    }
}

/// Ends when the build is cancelled.
pub(super) async fn cancelled(is_cancelled: impl Fn() -> bool) {
    while !is_cancelled() {
        tokio::time::sleep(CANCEL_POLL).await;
    }
}

/// Whether these parameters can be served at all: said before anything of the context is read.
pub fn check(options: &BuildOptions) -> Result<()> {
    request(options, Some(Ipv4Addr::UNSPECIFIED.into())).map(drop)
}

/// What the API's parameters ask of the builder; `gateway` is what `host-gateway` stands for.
pub(super) fn request(options: &BuildOptions, gateway: Option<IpAddr>) -> Result<Request> {
    if let Some(option) = options.security_opt.first() {
        let reason = "The daemon on this platform does not support setting security options on build";
        return Err(Error::invalid(reason).with_hint(format!("leave {option} out")));
    }
    let extras = &options.extras;
    let tag = |text: &String| {
        let found = Reference::parse(text);
        let found = found.map_err(|e| Error::invalid(format!("invalid tag {text:?}: {e}")))?;
        match found.digest {
            None => Ok(found),
            Some(_) => Err(Error::invalid("build tag cannot contain a digest")),
        }
    };
    let platforms = options.platform.split(',').map(str::trim).filter(|text| !text.is_empty());
    let platform = |text: &str| {
        text.parse::<Platform>().map(|p| p.normalized()).map_err(|e| Error::invalid(e.to_string()))
    };
    let mut platforms = platforms.map(platform).collect::<Result<Vec<_>>>()?;
    let mut seen = BTreeSet::new();
    platforms.retain(|platform| seen.insert(platform.clone()));
    let args = options.build_args.iter();
    let entitled = Entitled::read(&extras.allow)?;
    Ok(Request {
        common_ignore: !options.native_progress,
        context_subdir: Some(extras.context_subdir.clone()).filter(|path| !path.is_empty()),
        named_contexts: named_contexts(extras)?,
        dockerfile: dockerfile(options),
        target: Some(options.target.clone()).filter(|target| !target.is_empty()),
        build_args: args.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect(),
        platforms,
        labels: options.labels.clone(),
        tags: options.tags.iter().map(tag).collect::<Result<_>>()?,
        no_cache: options.no_cache,
        no_cache_filter: extras.no_cache_filter.clone(),
        pull: options.pull,
        network: NetMode::parse(&options.network_mode)
            .ok_or_else(|| Error::invalid("invalid container format container:<name|id>"))?,
        secrets: secrets(extras)?,
        extra_hosts: extra_hosts(&options.extra_hosts, gateway)?,
        limits: limits(options)?,
        squash: options.squash,
        ssh: extras.ssh.iter().map(|(id, path)| (id.clone(), PathBuf::from(path))).collect(),
        export: super::export::options(options)?,
        source_date_epoch: super::export::epoch(&extras.export)?,
        rewrite_timestamp: extras.rewrite_timestamp,
        allow_insecure: entitled.insecure,
        allow_host_network: entitled.host_network,
        allow_devices: entitled.devices,
        verify: extras.verify,
        cache_only: extras.export.cache_only,
        strict: extras.strict,
        ..Request::default()
    })
}

fn dockerfile(options: &BuildOptions) -> DockerfileSource {
    match &options.extras.dockerfile {
        Some(inline) => DockerfileSource::Text {
            name: inline.name.clone(),
            bytes: inline.text.clone().into_bytes(),
            ignore: inline.ignore.clone(),
        },
        None => DockerfileSource::InContext(Some(options.dockerfile.clone()).filter(|path| !path.is_empty())),
    }
}

/// What a context is called: names that are references are compared as such; one may be for one platform, `name::platform`.
fn context_key(name: &str) -> String {
    let (name, platform) = name.split_once("::").map_or((name, None), |(name, of)| (name, Some(of)));
    let key = Reference::shortest(name).unwrap_or_else(|| name.to_owned());
    platform.map_or_else(|| key.clone(), |platform| format!("{key}::{platform}"))
}

fn named_contexts(extras: &BuildExtras) -> Result<BTreeMap<String, NamedContext>> {
    let context = |(name, value): (&String, &String)| {
        let context = match value.strip_prefix("docker-image://") {
            Some(reference) => NamedContext::Image(reference.to_owned()),
            None if name.contains("::") => return Err(differs(name)),
            None if is_remote(value) => NamedContext::Remote(value.clone()),
            None => NamedContext::Dir(directory(name, Path::new(value))?),
        };
        Ok((context_key(name), context))
    };
    extras.contexts.iter().filter(|(_, value)| !value.starts_with(LAYOUT)).map(context).collect()
}

fn differs(name: &str) -> Error {
    Error::invalid(format!("context {name}: its files cannot differ between the platforms of one build"))
        .with_hint("give an image, or build each platform by itself")
}

/// Makes the client's directories contexts of the build.
fn client_files(
    files: BTreeMap<Option<String>, Bring>,
    request: &mut Request,
) -> Result<BTreeMap<Option<String>, Bring>> {
    let key = |(name, bring): (Option<String>, Bring)| match name {
        Some(name) if name.contains("::") => Err(differs(&name)),
        Some(name) => {
            let name = context_key(&name);
            request.named_contexts.insert(name.clone(), NamedContext::Client);
            Ok((Some(name), bring))
        }
        None => Ok((None, bring)),
    };
    files.into_iter().map(key).collect()
}

/// Whether a context lies elsewhere: in a repository or on a web server.
pub fn is_remote(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    builder::is_git(text) || lower.starts_with("http://") || lower.starts_with("https://")
}

/// A context's directory, which must be one, by its whole path.
fn directory(name: &str, path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() {
        return Err(Error::invalid(format!("build context {name}: path {} is not absolute", path.display())));
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(path.to_owned()),
        Ok(_) => Err(Error::invalid(format!("build context {name}: {} is not a directory", path.display()))),
        Err(e) => Err(Error::invalid(format!("build context {name}: {}: {e}", path.display()))),
    }
}

/// The secrets of a build: those that came with it, and those that its client is asked for.
pub(super) fn given_or_asked(
    given: BTreeMap<String, Vec<u8>>,
    ask: Option<builder::Secrets>,
) -> builder::Secrets {
    Arc::new(move |id| match (given.get(id), &ask) {
        (Some(secret), _) => Ok(Some(secret.clone())),
        (None, Some(ask)) => ask(id),
        (None, None) => Ok(None),
    })
}

fn secrets(extras: &BuildExtras) -> Result<BTreeMap<String, Vec<u8>>> {
    let decode = |(id, text): (&String, &String)| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|e| Error::invalid(format!("secret {id} is not base64: {e}")))?;
        Ok((id.clone(), bytes))
    };
    extras.secrets.iter().map(decode).collect()
}

fn extra_hosts(specs: &[String], gateway: Option<IpAddr>) -> Result<Vec<(String, String)>> {
    let entries = containers::etc::extra_hosts(specs, gateway)?;
    let lines = entries.into_iter().flat_map(|entry| {
        let address = entry.address.to_string();
        entry.names.into_iter().map(move |name| (name, address.clone()))
    });
    Ok(lines.collect())
}

fn limits(options: &BuildOptions) -> Result<Limits> {
    let resources = Resources {
        memory: options.memory,
        memory_swap: options.memory_swap,
        cpu_shares: options.cpu_shares,
        cpu_period: options.cpu_period,
        cpu_quota: options.cpu_quota,
        cpuset_cpus: options.cpuset_cpus.clone(),
        cpuset_mems: options.cpuset_mems.clone(),
        cgroup_parent: options.cgroup_parent.clone(),
        ulimits: options.ulimits.clone(),
        ..Resources::default()
    };
    containers::validate::check_resources(&resources, machine::facts().limits())?;
    if options.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    Ok(Limits {
        resources: Some(spec::resources::resources(&resources, &BTreeMap::new())?),
        rlimits: spec::rlimits(&options.ulimits),
        shm_size: u64::try_from(options.shm_size).ok().filter(|bytes| *bytes > 0),
        cgroup_parent: options.cgroup_parent.trim_matches('/').to_owned(),
    })
}

/// The builder's error as the engine's.
pub(super) fn failed(error: builder::Error) -> Error {
    let kind = match &error {
        builder::Error::Dockerfile { .. }
        | builder::Error::Checks { .. }
        | builder::Error::NoDockerfile { .. }
        | builder::Error::NoTarget { .. }
        | builder::Error::Ignore { .. }
        | builder::Error::Remote { .. }
        | builder::Error::Sent { .. }
        | builder::Error::Policy(_)
        | builder::Error::NotReproducible { .. }
        | builder::Error::Materials { .. }
        | builder::Error::Context(_) => Kind::InvalidParameter,
        builder::Error::NotAllowed { .. } => Kind::Forbidden,
        builder::Error::Cancelled => Kind::Cancelled,
        _ => Kind::System,
    };
    let failure = Failure {
        place: error.place().cloned(),
        process: error.process().cloned(),
        left: error.left().cloned().map(Arc::new),
        spot: error.spot().cloned(),
        image: error.image().map(str::to_owned),
    };
    // What fetches layers and gives networks is the engine's own.
    let below = match &error {
        builder::Error::Layers { source, .. } => Some(source),
        builder::Error::Step(step) => step.source.as_ref(),
        _ => None,
    };
    let hint = error.hint().or_else(|| below?.downcast_ref::<Error>()?.hint.clone());
    Error { kind, message: error.chain(), hint, build: Some(Arc::new(failure)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_where_layers_do_not_come_is_told() {
        let layers = builder::Error::Layers {
            reference: "base".to_owned(),
            place: Box::default(),
            source: Box::new(Error::system("no room").with_hint("make some")),
        };
        let failed = failed(layers);
        assert_eq!(failed.message, "failed to fetch the layers of base: no room");
        assert_eq!(failed.hint.as_deref(), Some("make some"));
    }
}
