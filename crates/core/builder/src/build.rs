//! A whole build: read, lower, solve, export.

use crate::context::{Opener, ignore_text, parse_ignore};
use crate::error::Error;
use crate::event::{Event, Stream};
use crate::files::index::Indices;
use crate::graph::Graph;
use crate::lower::{self, ImageKey, Inputs, Lowered};
use crate::progress::Progress;
use crate::request::{
    Built, BuiltImage, Context, DockerfileSource, Env, Image, ImageRequest, NamedContext, NetMode, Request,
};
use crate::session::{ContextTree, Output, Session, SourceFile, io_error};
use crate::solve::{self, Once};
use crate::{export, step, transfer};
use dockerfile::Span;
use dockerfile::ast::Dockerfile;
use dockerfile::check::Surroundings;
use dockerfile::ignore::Ignore;
use oci::{Digest, Platform};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use store::Lease;
use sys::root::Root;

/// Builds an image.
pub fn build(
    env: &Env,
    context: Context,
    request: &Request,
    progress: &mut (dyn FnMut(Event) + Send),
) -> Result<Built, Error> {
    let progress = Progress::new(progress);
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
    let host = [Platform::host()];
    let platforms = if request.platforms.is_empty() { &host[..] } else { &request.platforms };
    let mut lowered = Vec::with_capacity(platforms.len());
    for platform in platforms {
        let platform = platform.normalized();
        let (graph, images) = lower_all(env, request, &platform, &parsed, &file, &progress)?;
        lowered.push((platform, graph, images));
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
    };
    let mut parts = Vec::with_capacity(lowered.len());
    for (platform, graph, images) in &lowered {
        parts.push(job.platform(platform, graph, images)?);
    }
    let used = transfer::Used {
        env,
        lease: &lease,
        keys: parts.iter().flat_map(|part| part.used.iter().cloned()).collect(),
        results: parts.iter().filter_map(|part| part.made.chain.clone()).collect(),
        lowered: lowered.iter().map(|(_, graph, images)| (graph, &images[..])).collect(),
    };
    let built = job.publish(parts)?;
    for target in &env.cache_to {
        transfer::send(&used, target, &progress)?;
    }
    Ok(built)
}

/// What the builds for several platforms share.
struct Job<'a> {
    env: &'a Env,
    request: &'a Request,
    lease: &'a Lease,
    progress: &'a Progress<'a>,
    file: &'a SourceFile,
    parsed: &'a Dockerfile,
    context: &'a ContextTree,
    named: &'a BTreeMap<String, ContextTree>,
    facts: &'a export::Facts<'a>,
    imports: &'a transfer::Imports,
}

/// The image for one platform.
struct Part {
    made: export::Made,
    used: BTreeSet<Digest>,
    ran: u64,
    cached: u64,
}

impl<'a> Job<'a> {
    /// Solves and writes the image for one platform.
    fn platform(&self, platform: &Platform, graph: &'a Graph, images: &'a [Image]) -> Result<Part, Error> {
        let Job { env, request, lease, progress, file, context, named, .. } = *self;
        self.tell_warnings(platform, graph, images)?;
        let session = Session {
            env,
            request,
            lease,
            graph,
            images,
            context,
            named,
            progress,
            file,
            once: Once::default(),
            snapshots: Once::default(),
            indices: Indices::default(),
            imports: self.imports,
            used: Mutex::default(),
            aborted: AtomicBool::new(false),
            ran: AtomicU64::new(0),
            cached: AtomicU64::new(0),
        };
        let outputs = solve_all(&session);
        session.keep_indices();
        let made = export::image(&session, &outputs?, self.facts)?;
        Ok(Part {
            made,
            used: session.used.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ran: session.ran.load(Ordering::Relaxed),
            cached: session.cached.load(Ordering::Relaxed),
        })
    }

    /// Sends the warnings; with `# check=error=true` they end the build.
    fn tell_warnings(&self, platform: &Platform, graph: &Graph, images: &[Image]) -> Result<(), Error> {
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
            })
            .collect();
        for member in &members {
            step.log(Stream::Stderr, format!("writing image {}\n", member.image_id));
        }
        for tag in &self.request.tags {
            step.log(Stream::Stderr, format!("naming to {tag}\n"));
        }
        step.done();
        // The one that this machine can run stands for all.
        let best = Platform::host().best(members.iter().map(|m| Some(&m.platform))).unwrap_or(0);
        Ok(Built {
            image_id: members[best].image_id.clone(),
            manifest: members[best].manifest.digest.clone(),
            platform: members[best].platform.clone(),
            tags: self.request.tags.clone(),
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
        DockerfileSource::Text { name, bytes } => (name.clone(), bytes.clone()),
        DockerfileSource::InContext(path) => {
            let name = path.clone().unwrap_or_else(|| "Dockerfile".into());
            let bytes = match root.read_file(&name, dockerfile::MAX_SIZE as u64) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Err(Error::NoDockerfile { name });
                }
                other => other.map_err(io_error("read", Path::new(&name)))?,
            };
            (name, bytes)
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

/// `<Dockerfile>.dockerignore` if there is one, else `.dockerignore`.
fn read_ignore(root: &Root, source: &DockerfileSource, progress: &Progress<'_>) -> Result<Ignore, Error> {
    let step = progress.step("[internal] load .dockerignore", "", "");
    let own = match source {
        DockerfileSource::InContext(path) => {
            Some(format!("{}.dockerignore", path.as_deref().unwrap_or("Dockerfile")))
        }
        DockerfileSource::Text { name, .. } => Some(format!("{}.dockerignore", base_name(name))),
    };
    let mut ignore = Ignore::default();
    for name in own.iter().map(String::as_str).chain([".dockerignore"]) {
        if let Some(text) = ignore_text(root, name)? {
            ignore = parse_ignore(name, &text)?;
            break;
        }
    }
    step.done();
    Ok(ignore)
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
    let contexts = request
        .named_contexts
        .iter()
        .map(|(name, context)| match context {
            NamedContext::Dir(_) | NamedContext::Remote(_) => (name.clone(), None),
            NamedContext::Image(image) => (name.clone(), Some(image.clone())),
        })
        .collect();
    let mut images: BTreeMap<ImageKey, Image> = BTreeMap::new();
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
        });
        match lowered.map_err(|e| lower_error(file, e))? {
            Lowered::Needs(needs) => images.extend(fetch_images(env, request, file, needs, progress)?),
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
    file: &SourceFile,
    needs: BTreeMap<ImageKey, Span>,
    progress: &Progress<'_>,
) -> Result<Vec<(ImageKey, Image)>, Error> {
    let fetch = |key: &ImageKey, span: Span| {
        let wanted = ImageRequest {
            reference: key.reference.clone(),
            platform: key.platform.clone(),
            pull: request.pull,
        };
        let parsed = oci::Reference::parse(&key.reference);
        let reference = parsed.map_or_else(|_| key.reference.clone(), |r| r.to_string());
        let step = progress.step(&format!("[internal] load metadata for {reference}"), "", "");
        let found = (env.images)(&wanted).map_err(|source| {
            let place = Box::new(file.place(span));
            Error::Image { reference, place, source }
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

/// Runs the graph: base images are nodes too.
fn solve_all(session: &Session<'_>) -> Result<Vec<Output>, Error> {
    let graph = session.graph;
    let images = graph.images.len();
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); images];
    needs.extend(graph.ops.iter().map(|op| step::needs(session, op)));
    let workers = match session.env.workers {
        // Many steps wait more than they work: for the network, for a lock, for a disk.
        0 => (2 * std::thread::available_parallelism().map_or(2, usize::from)).max(16),
        n => n,
    };
    let abort = || session.aborted.store(true, Ordering::SeqCst);
    let work = |index: usize, inputs: Vec<Output>| match index.checked_sub(images) {
        None => step::image(session, index),
        Some(op) => step::op(session, &graph.ops[op], inputs),
    };
    let outputs = solve::solve(&needs, workers, &abort, &work)?;
    if session.request.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    Ok(outputs)
}
