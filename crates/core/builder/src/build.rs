//! A whole build: read, lower, solve, export.

use crate::context::{Opener, ignore_text, parse_ignore};
use crate::error::Error;
use crate::event::{Event, Stream};
use crate::graph::Graph;
use crate::lower::{self, Devices, ImageKey, Inputs, Lowered};
use crate::progress::{Progress, in_turn};
use crate::request::{
    Built, BuiltImage, Context, DockerfileSource, Env, Image, ImageRequest, NamedContext, NetMode, Request,
};
use crate::session::{ContextTree, Output, Session, Shared, SourceFile, io_error};
use crate::{export, promise, scan, solve, step, transfer, verify};
use dockerfile::Span;
use dockerfile::ast::Dockerfile;
use dockerfile::check::Surroundings;
use dockerfile::ignore::Ignore;
use oci::{ChainId, Digest, Platform};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use store::Lease;
use sys::root::Root;

/// Builds an image.
pub fn build(
    env: &Env,
    context: Context,
    request: &Request,
    progress: &mut (dyn FnMut(Event) + Send),
) -> Result<Built, Error> {
    let sink = in_turn(progress);
    let progress = Progress::new(&sink);
    let lease =
        env.store.lease("build").map_err(|e| Error::Store { attempt: "take lease", source: e.into() })?;
    let opener = Opener { env, request, lease: &lease, progress: &progress };
    let remote = match &context {
        Context::Remote(address) => Some(address.clone()),
        _ => None,
    };
    let root = opener.main(context)?;
    let file = read_dockerfile(&root, &request.dockerfile, &progress)?;
    let options = dockerfile::Options { strict: request.strict, ..Default::default() };
    let parsed = dockerfile::parse(&file.text, options).map_err(|e| parse_error(&file, e))?;
    let ignore = read_ignore(&root, &request.dockerfile, &progress)?;
    let context = ContextTree { root, ignore };
    let named = opener.named()?;
    let began = step::timestamp();
    let facts = export::Facts {
        remote: remote.as_deref(),
        dockerfile: &file.name,
        text: &file.text,
        began: &began,
        id: lease.id(),
    };
    let lowered = lower_platforms(env, request, &parsed, &file, &progress)?;
    let imports = transfer::open(env, &lease, &env.cache_from, &progress);
    let job = Job {
        env,
        request,
        lease: &lease,
        progress: &progress,
        file: &file,
        parsed: &parsed,
        context: &context,
        named: &named,
        facts: &facts,
        imports: &imports,
        isolated: false,
    };
    lowered.iter().try_for_each(|one| job.tell_warnings(one))?;
    let parts = job.make(&lowered)?;
    if request.verify {
        verify::verify(&job, &parts)?;
    }
    job.finish(&lowered, parts)
}

/// Builds what a client says as a graph: one for each platform, and no Dockerfile.
pub fn build_graph(
    env: &Env,
    given: Given,
    request: &Request,
    progress: &mut (dyn FnMut(Event) + Send),
) -> Result<Built, Error> {
    let sink = in_turn(progress);
    let progress = Progress::new(&sink);
    let lease =
        env.store.lease("build").map_err(|e| Error::Store { attempt: "take lease", source: e.into() })?;
    let opener = Opener { env, request, lease: &lease, progress: &progress };
    let context = ContextTree { root: opener.main(Context::Empty)?, ignore: Ignore::default() };
    let mut named = opener.named()?;
    // Whoever gives a graph has said which files it is about.
    named.values_mut().for_each(|context| context.ignore = Ignore::default());
    let file = SourceFile { name: given.name, text: given.text };
    let parsed = dockerfile::parse(NOTHING, dockerfile::Options::default());
    let parsed = parsed.map_err(|e| parse_error(&file, e))?;
    let began = step::timestamp();
    let facts = export::Facts {
        remote: None,
        dockerfile: &file.name,
        text: &file.text,
        began: &began,
        id: lease.id(),
    };
    let mut lowered = Vec::with_capacity(given.graphs.len());
    for (platform, graph) in given.graphs {
        let images = find_images(env, request, &file, &graph, &progress)?;
        lowered.push(Platformed { platform, graph, images });
    }
    let imports = transfer::open(env, &lease, &env.cache_from, &progress);
    let job = Job {
        env,
        request,
        lease: &lease,
        progress: &progress,
        file: &file,
        parsed: &parsed,
        context: &context,
        named: &named,
        facts: &facts,
        imports: &imports,
        isolated: false,
    };
    let parts = job.make(&lowered)?;
    job.finish(&lowered, parts)
}

/// Stands for a Dockerfile where there is none.
const NOTHING: &str = "FROM scratch\n";

/// What a client says as a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// One for each platform.
    pub graphs: Vec<(Platform, Graph)>,
    /// What the file is called that the graph was made of; empty for none.
    pub name: String,
    /// Its text, which the operations' places lie in.
    pub text: String,
}

/// Finds the images that a graph names.
fn find_images(
    env: &Env,
    request: &Request,
    file: &SourceFile,
    graph: &Graph,
    progress: &Progress<'_>,
) -> Result<Vec<Image>, Error> {
    let find = |used: &crate::graph::ImageUse| {
        let wanted = ImageRequest {
            reference: used.reference.clone(),
            platform: used.platform.clone(),
            pull: request.pull,
        };
        (env.images)(&wanted).map_err(|source| {
            let step = progress.step(&used.name, "", "");
            let place = Box::new(file.place(used.span));
            let error = Error::Image { reference: used.reference.clone(), place, near: None, source };
            step.failed(error.chain());
            error
        })
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = graph.images.iter().map(|used| scope.spawn(|| find(used))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The graph of one platform's image, with its base images.
pub(crate) struct Platformed {
    platform: Platform,
    graph: Graph,
    images: Vec<Image>,
}

/// Lowers, once a platform. Where there are several, each step says which it is for.
pub(crate) fn lower_platforms(
    env: &Env,
    request: &Request,
    parsed: &Dockerfile,
    file: &SourceFile,
    progress: &Progress<'_>,
) -> Result<Vec<Platformed>, Error> {
    let host = [Platform::host()];
    let platforms = if request.platforms.is_empty() { &host[..] } else { &request.platforms };
    let mut lowered = Vec::with_capacity(platforms.len());
    for platform in platforms {
        let platform = platform.normalized();
        let (mut graph, mut images) = lower_all(env, request, &platform, parsed, file, progress)?;
        scan::add(env, request, (&mut graph, &mut images), progress)?;
        if platforms.len() > 1 {
            graph.images.iter_mut().for_each(|used| prefix(&mut used.name, &used.platform.to_string()));
            graph.ops.iter_mut().for_each(|op| prefix(&mut op.name, &op.platform.to_string()));
        }
        lowered.push(Platformed { platform, graph, images });
    }
    Ok(lowered)
}

/// `[build 2/4] RUN make` becomes `[linux/arm64 build 2/4] RUN make`.
fn prefix(name: &mut String, word: &str) {
    if let Some(rest) = name.strip_prefix('[') {
        *name = format!("[{word} {rest}");
    }
}

/// What the builds for several platforms share.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub env: &'a Env,
    pub request: &'a Request,
    pub lease: &'a Lease,
    pub progress: &'a Progress<'a>,
    pub file: &'a SourceFile,
    pub parsed: &'a Dockerfile,
    pub context: &'a ContextTree,
    pub named: &'a BTreeMap<String, ContextTree>,
    pub facts: &'a export::Facts<'a>,
    pub imports: &'a transfer::Imports,
    /// The cache does not learn of it.
    pub isolated: bool,
}

/// The image for one platform.
pub(crate) struct Part {
    pub made: export::Made,
    /// What made each stack of layers.
    pub steps: Vec<(ChainId, String)>,
    used: BTreeSet<Digest>,
    promises: Vec<transfer::Promise>,
    cache_mounts: BTreeSet<String>,
    ran: u64,
    cached: u64,
}

impl<'a> Job<'a> {
    /// Solves for all platforms at once, and writes the images.
    pub fn make(&self, lowered: &'a [Platformed]) -> Result<Vec<Part>, Error> {
        let shared = Shared::default();
        let mut sessions: Vec<Session<'_>> = lowered.iter().map(|one| self.session(one, &shared)).collect();
        for session in &mut sessions {
            session.settled = promise::settle(session);
        }
        let outputs = solve_all(&sessions);
        sessions.iter().for_each(Session::keep_indices);
        let outputs = outputs?;
        sessions.iter().zip(outputs).map(|(session, outputs)| self.part(session, &outputs)).collect()
    }

    fn session<'s>(&'s self, one: &'s Platformed, shared: &'s Shared) -> Session<'s> {
        Session {
            env: self.env,
            request: self.request,
            lease: self.lease,
            graph: &one.graph,
            images: &one.images,
            context: self.context,
            named: self.named,
            progress: self.progress,
            file: self.file,
            shared,
            isolated: self.isolated,
            imports: self.imports,
            settled: BTreeMap::new(),
            used: Mutex::default(),
            cache_mounts: Mutex::default(),
            earlier: OnceLock::new(),
            ran: AtomicU64::new(0),
            cached: AtomicU64::new(0),
        }
    }

    fn part(&self, session: &Session<'_>, outputs: &[Output]) -> Result<Part, Error> {
        let made = export::image(session, outputs, self.facts)?;
        let images = session.graph.images.len();
        let steps = session.graph.ops.iter().zip(&outputs[images..]);
        Ok(Part {
            made,
            steps: steps.filter_map(|(op, output)| Some((output.chain.clone()?, op.name.clone()))).collect(),
            used: session.used.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            promises: session.promises(),
            cache_mounts: session.cache_mounts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ran: session.ran.load(Ordering::Relaxed),
            cached: session.cached.load(Ordering::Relaxed),
        })
    }

    /// Sends the warnings; with `# check=error=true` they end the build.
    fn tell_warnings(&self, Platformed { platform, graph, images }: &Platformed) -> Result<(), Error> {
        let Job { request, progress, file, parsed, .. } = *self;
        let ignore = &self.context.ignore;
        let settings = dockerfile::check::settings(parsed, &request.build_args).map_err(|message| {
            Error::Checks { message: format!("failed to parse check options: {message}") }
        })?;
        let config = |reference: &str, platform: &Platform| {
            let same = |u: &&crate::graph::ImageUse| u.reference == reference && u.platform == *platform;
            let used = graph.images.iter().position(|u| same(&u))?;
            images.get(used).map(|image| image.config.clone())
        };
        let warnings = dockerfile::check::check(
            parsed,
            &Surroundings {
                build_args: &request.build_args,
                target: request.target.as_deref(),
                platform,
                build_platform: &Platform::host(),
                image: &config,
                ignore: Some(ignore),
                stages: Some(&graph.stages),
            },
        );
        for warning in &warnings {
            progress.send(Event::Warning {
                rule: warning.rule.clone(),
                message: warning.message.clone(),
                file: file.name.clone(),
                span: warning.span,
                help: warning.help.clone(),
                excerpt: file.place(warning.span).excerpt,
            });
        }
        for (index, stage) in parsed.stages.iter().enumerate() {
            if !graph.stages.contains(&index) {
                let name = stage.from.name.as_ref().map_or_else(|| index.to_string(), |n| n.text.clone());
                progress.send(Event::StageSkipped { stage: name });
            }
        }
        match dockerfile::check::violation(&warnings).filter(|_| settings.error) {
            Some(message) => Err(Error::Checks { message }),
            None => Ok(()),
        }
    }

    /// Records the images, and sends the cache where it is to go.
    fn finish(&self, lowered: &[Platformed], parts: Vec<Part>) -> Result<Built, Error> {
        let used = transfer::Used {
            env: self.env,
            lease: self.lease,
            keys: parts.iter().flat_map(|part| part.used.iter().cloned()).collect(),
            promises: parts.iter().flat_map(|part| part.promises.iter().cloned()).collect(),
            mounts: parts.iter().flat_map(|part| part.cache_mounts.iter().cloned()).collect(),
            results: parts.iter().filter_map(|part| part.made.chain.clone()).collect(),
            lowered: lowered.iter().map(|one| (&one.graph, &one.images[..])).collect(),
        };
        let built = self.publish(parts)?;
        for target in &self.env.cache_to {
            transfer::send(&used, target, self.progress)?;
        }
        Ok(built)
    }

    /// Records the images and names them.
    fn publish(&self, parts: Vec<Part>) -> Result<Built, Error> {
        let (ran, cached) = (parts.iter().map(|p| p.ran).sum(), parts.iter().map(|p| p.cached).sum());
        let made: Vec<export::Made> = parts.into_iter().map(|part| part.made).collect();
        let step = self.progress.step("exporting to image", "", "");
        let published = export::publish(self.env, self.lease, self.request, &made);
        let published = published.inspect_err(|e| step.failed(e.chain()))?;
        let members: Vec<BuiltImage> = made
            .into_iter()
            .zip(&published.images)
            .map(|(made, put)| BuiltImage {
                image_id: put.image.id.clone(),
                manifest: made.manifest,
                platform: made.platform,
                is_new: put.new,
                provenance: made.provenance,
                sbom: made.sbom,
            })
            .collect();
        for member in &members {
            step.log(Stream::Stderr, format!("writing image {}\n", member.image_id));
        }
        let tags = export::names(self.request, &published.target.digest);
        for tag in &tags {
            step.log(Stream::Stderr, format!("naming to {tag}\n"));
        }
        step.done();
        // The one that this machine can run stands for all.
        let best = Platform::host().best(members.iter().map(|m| Some(&m.platform))).unwrap_or(0);
        Ok(Built {
            image_id: members[best].image_id.clone(),
            manifest: members[best].manifest.digest.clone(),
            platform: members[best].platform.clone(),
            tags,
            target: published.target,
            images: members,
            ran,
            cached,
        })
    }
}

fn read_dockerfile(
    root: &Root,
    source: &DockerfileSource,
    progress: &Progress<'_>,
) -> Result<SourceFile, Error> {
    let (name, bytes) = match source {
        DockerfileSource::Text { name, bytes, .. } => (name.clone(), bytes.clone()),
        DockerfileSource::InContext(path) => {
            // One that nobody has named may be in lower case.
            let names = match path {
                Some(path) => vec![path.clone()],
                None => vec!["Dockerfile".to_owned(), "dockerfile".to_owned()],
            };
            let mut found = None;
            for name in &names {
                match root.read_file(name, dockerfile::MAX_SIZE as u64) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    other => {
                        let bytes = other.map_err(io_error("read", Path::new(name)))?;
                        found = Some((name.clone(), bytes));
                        break;
                    }
                }
            }
            found.ok_or_else(|| Error::NoDockerfile { name: names[0].clone() })?
        }
    };
    let step = progress.step(&format!("[internal] load build definition from {}", base_name(&name)), "", "");
    let decoded = dockerfile::decode(&bytes);
    let file = SourceFile { name, text: decoded.as_ref().cloned().unwrap_or_default() };
    decoded.map_err(|e| parse_error(&file, e))?;
    step.done();
    Ok(file)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn parse_error(file: &SourceFile, error: dockerfile::Error) -> Error {
    Error::Dockerfile { message: error.message, place: Box::new(file.place(error.span)), help: error.help }
}

/// What a context says about its build.
pub struct Definition {
    /// What to call the Dockerfile.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The ignore file that counts for it, if there is one.
    pub ignore: Option<String>,
}

/// Reads the Dockerfile of a context and its ignore file, and builds nothing.
pub fn definition(env: &Env, context: Context, request: &Request) -> Result<Definition, Error> {
    let progress = Progress::new(&|_| {});
    let lease = env
        .store
        .lease("read a context")
        .map_err(|e| Error::Store { attempt: "take lease", source: e.into() })?;
    let opener = Opener { env, request, lease: &lease, progress: &progress };
    let root = opener.main(context)?;
    let file = read_dockerfile(&root, &request.dockerfile, &progress)?;
    let ignore = ignore_of(&root, &request.dockerfile)?.map(|(_, text)| text);
    Ok(Definition { name: file.name, text: file.text, ignore })
}

fn read_ignore(root: &Root, source: &DockerfileSource, progress: &Progress<'_>) -> Result<Ignore, Error> {
    let step = progress.step("[internal] load .dockerignore", "", "");
    let ignore = match ignore_of(root, source)? {
        Some((name, text)) => parse_ignore(&name, &text)?,
        None => Ignore::default(),
    };
    step.done();
    Ok(ignore)
}

/// `<Dockerfile>.dockerignore` if there is one, else `.dockerignore`: its name and text.
fn ignore_of(root: &Root, source: &DockerfileSource) -> Result<Option<(String, String)>, Error> {
    let own = match source {
        DockerfileSource::Text { ignore: Some(text), .. } => {
            return Ok(Some((".dockerignore".to_string(), text.clone())));
        }
        DockerfileSource::InContext(path) => {
            format!("{}.dockerignore", path.as_deref().unwrap_or("Dockerfile"))
        }
        DockerfileSource::Text { name, .. } => format!("{}.dockerignore", base_name(name)),
    };
    for name in [own, ".dockerignore".to_string()] {
        if let Some(text) = ignore_text(root, &name)? {
            return Ok(Some((name, text)));
        }
    }
    Ok(None)
}

/// The contexts by name as one platform sees them: `name::platform` is for that platform alone, and goes before `name`.
fn contexts_of(request: &Request, platform: &Platform) -> BTreeMap<String, Option<String>> {
    let mut contexts = BTreeMap::new();
    // A name comes before the same name with a platform.
    for (name, context) in &request.named_contexts {
        let image = match context {
            NamedContext::Dir(_) | NamedContext::Remote(_) => None,
            NamedContext::Image(image) => Some(image.clone()),
        };
        let place = name.split_once("::").and_then(|(name, of)| Some((name, of.parse::<Platform>().ok()?)));
        match place {
            None => contexts.insert(name.clone(), image),
            Some((name, of)) if of.normalized() == platform.normalized() => {
                contexts.insert(name.to_string(), image)
            }
            Some(_) => None,
        };
    }
    contexts
}

/// Lowers, fetching configurations of base images as they turn out to be needed.
fn lower_all(
    env: &Env,
    request: &Request,
    platform: &Platform,
    parsed: &Dockerfile,
    file: &SourceFile,
    progress: &Progress<'_>,
) -> Result<(Graph, Vec<Image>), Error> {
    let build_platform = Platform::host();
    let contexts = contexts_of(request, platform);
    let mut images: BTreeMap<ImageKey, Image> = BTreeMap::new();
    let devices = Devices::new(&request.allow_devices, &env.cdi);
    loop {
        if request.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let configs = images.iter().map(|(key, image)| (key.clone(), image.config.clone())).collect();
        let lowered = lower::lower(&Inputs {
            file: parsed,
            build_args: &request.build_args,
            target: request.target.as_deref(),
            platform,
            build_platform: &build_platform,
            images: &configs,
            contexts: &contexts,
            labels: &request.labels,
            no_cache: request.no_cache,
            no_cache_filter: &request.no_cache_filter,
            allow_insecure: request.allow_insecure,
            allow_host_network: request.allow_host_network || request.network == NetMode::Host,
            devices: &devices,
        });
        match lowered.map_err(|e| lower_error(file, e))? {
            Lowered::Needs(needs) => {
                images.extend(fetch_images(env, request, (parsed, file), needs, progress)?)
            }
            Lowered::Graph(graph) => {
                let of = |u: &crate::graph::ImageUse| ImageKey {
                    reference: u.reference.clone(),
                    platform: u.platform.clone(),
                };
                let used = graph.images.iter().filter_map(|u| images.get(&of(u)).cloned()).collect();
                return Ok((*graph, used));
            }
        }
    }
}

/// Asks for the images side by side.
fn fetch_images(
    env: &Env,
    request: &Request,
    (parsed, file): (&Dockerfile, &SourceFile),
    needs: BTreeMap<ImageKey, Span>,
    progress: &Progress<'_>,
) -> Result<Vec<(ImageKey, Image)>, Error> {
    let fetch = |key: &ImageKey, span: Span| {
        let wanted = ImageRequest {
            reference: key.reference.clone(),
            platform: key.platform.clone(),
            pull: request.pull,
        };
        let reference = oci::Reference::parse(&key.reference);
        let reference = reference.map_or_else(|_| key.reference.clone(), |r| r.to_string());
        let step = progress.step(&format!("[internal] load metadata for {reference}"), "", "");
        let found = (env.images)(&wanted).map_err(|source| {
            let place = Box::new(file.place(span));
            let stages = parsed.stages.iter().filter_map(|stage| stage.from.name.as_ref());
            let names = stages.map(|name| name.text.as_str());
            let names = names.chain(request.named_contexts.keys().map(String::as_str));
            let near = dockerfile::nearest(&key.reference, names).map(str::to_owned);
            Error::Image { reference, place, near, source }
        });
        match &found {
            Ok(_) => step.done(),
            Err(error) => step.failed(error.chain()),
        }
        found
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = needs
            .into_iter()
            .map(|(key, span)| scope.spawn(move || fetch(&key, span).map(|image| (key, image))))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn lower_error(file: &SourceFile, error: lower::Error) -> Error {
    match error {
        lower::Error::NoTarget { name, known } => Error::NoTarget { name, known },
        lower::Error::At { message, span, help } => {
            Error::Dockerfile { message, place: Box::new(file.place(span)), help }
        }
    }
}

/// Runs the graphs of all platforms as one: base images are nodes too, and what is the same for several is done once.
fn solve_all(sessions: &[Session<'_>]) -> Result<Vec<Vec<Output>>, Error> {
    let Some(first) = sessions.first() else { return Ok(Vec::new()) };
    let (mut needs, mut nodes, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for session in sessions {
        let start = needs.len();
        starts.push(start);
        needs.extend(session.graph.images.iter().map(|_| Vec::new()));
        let of = |op| step::needs(session, op).into_iter().map(|node| start + node).collect::<Vec<_>>();
        needs.extend(session.graph.ops.iter().map(of));
        nodes.extend((start..needs.len()).map(|node| (session, node - start)));
    }
    let workers = solve::workers(first.env.workers);
    let abort = || first.shared.aborted.store(true, Ordering::SeqCst);
    let work = |node: usize, inputs: Vec<Output>| {
        let (session, index): (&Session<'_>, usize) = nodes[node];
        let _place = session.env.gate.as_ref().map(|gate| gate.enter());
        match index.checked_sub(session.graph.images.len()) {
            None => step::image(session, index),
            Some(op) => match session.settled.get(&index) {
                Some(settled) => Ok(step::settled(session, &session.graph.ops[op], settled)),
                None => step::op(session, &session.graph.ops[op], inputs),
            },
        }
    };
    let mut outputs = solve::solve(&needs, workers, &abort, &work)?;
    if first.request.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let mut parts: Vec<Vec<Output>> = starts.iter().rev().map(|start| outputs.split_off(*start)).collect();
    parts.reverse();
    Ok(parts)
}
