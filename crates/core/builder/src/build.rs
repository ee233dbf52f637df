//! A whole build: read, lower, solve, export.

use crate::error::Error;
use crate::event::{Event, Stream};
use crate::graph::Graph;
use crate::lower::{self, ImageKey, Inputs, Lowered};
use crate::progress::Progress;
use crate::request::{
    Built, CancelToken, Context, DockerfileSource, Env, Image, ImageRequest, NamedContext, NetMode, Request,
};
use crate::session::{ContextTree, Output, Session, SourceFile, io_error, make_private};
use crate::solve::{self, Once};
use crate::{export, step};
use dockerfile::ast::Dockerfile;
use dockerfile::ignore::Ignore;
use dockerfile::{Span, Warning};
use oci::Platform;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    let root = open_context(&lease, context, &progress, &request.cancel)?;
    let file = read_dockerfile(&root, &request.dockerfile, &progress)?;
    let options = dockerfile::Options { strict: request.strict };
    let parsed = dockerfile::parse(&file.text, options).map_err(|e| parse_error(&file, e))?;
    let ignore = read_ignore(&root, &request.dockerfile, &progress)?;
    let context = ContextTree { root, ignore };
    let named = open_named(request)?;
    let (graph, images) = lower_all(env, request, &parsed, &file, &progress)?;
    tell_warnings(&progress, &file, &parsed, &graph)?;
    let session = Session {
        env,
        request,
        lease: &lease,
        graph: &graph,
        images: &images,
        context: &context,
        named: &named,
        progress: &progress,
        file: &file,
        once: Once::default(),
        snapshots: Once::default(),
        aborted: AtomicBool::new(false),
        ran: AtomicU64::new(0),
        cached: AtomicU64::new(0),
    };
    let outputs = solve_all(&session)?;
    let step = progress.step("exporting to image", "", "");
    let put = export::export(&session, &outputs).inspect_err(|e| step.failed(e.chain()))?;
    step.log(Stream::Stderr, format!("writing image {}\n", put.image.id));
    for tag in &request.tags {
        step.log(Stream::Stderr, format!("naming to {tag}\n"));
    }
    step.done();
    Ok(Built {
        image_id: put.image.id.clone(),
        manifest: put.image.digest.clone(),
        platform: put.image.config.platform(),
        tags: request.tags.clone(),
        ran: session.ran.load(Ordering::Relaxed),
        cached: session.cached.load(Ordering::Relaxed),
    })
}

/// The context as a directory; an archive is unpacked below the lease.
fn open_context(
    lease: &Lease,
    context: Context,
    progress: &Progress<'_>,
    cancel: &CancelToken,
) -> Result<Root, Error> {
    match context {
        Context::Dir(path) => Root::open(&path).map_err(io_error("open build context", &path)),
        Context::Empty => {
            let path = lease.scratch();
            make_private(&path)?;
            Root::open(&path).map_err(io_error("open", &path))
        }
        Context::Tar(stream) => {
            let step = progress.step("[internal] load build context", "", "");
            let path = lease.scratch();
            make_private(&path)?;
            let root = Root::open(&path).map_err(io_error("open", &path))?;
            let stream = archive::decompress(stream).map_err(|e| Error::Context(e.into()))?;
            let options = archive::Options { devices: false, ..archive::Options::plain() };
            let stream = archive::Guard::new(stream, options.limits.stream(), || cancel.is_cancelled());
            archive::unpack(stream, &root, &options).map_err(|e| Error::Context(e.into()))?;
            step.done();
            Ok(root)
        }
    }
}

fn open_named(request: &Request) -> Result<BTreeMap<String, ContextTree>, Error> {
    let mut named = BTreeMap::new();
    for (name, context) in &request.named_contexts {
        let NamedContext::Dir(path) = context else { continue };
        let root = Root::open(path).map_err(io_error("open build context", path))?;
        let ignore = match ignore_text(&root, ".dockerignore")? {
            Some(text) => parse_ignore(".dockerignore", &text)?,
            None => Ignore::default(),
        };
        named.insert(name.clone(), ContextTree { root, ignore });
    }
    Ok(named)
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

fn ignore_text(root: &Root, name: &str) -> Result<Option<String>, Error> {
    match root.read_file(name, dockerfile::ignore::MAX_SIZE as u64) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", Path::new(name))(e)),
    }
}

fn parse_ignore(name: &str, text: &str) -> Result<Ignore, Error> {
    Ignore::parse(text).map_err(|source| Error::Ignore { name: name.into(), source })
}

/// Lowers, fetching configurations of base images as they turn out to be needed.
fn lower_all(
    env: &Env,
    request: &Request,
    parsed: &Dockerfile,
    file: &SourceFile,
    progress: &Progress<'_>,
) -> Result<(Graph, Vec<Image>), Error> {
    let build_platform = Platform::host();
    let platform = request.platform.clone().unwrap_or_else(Platform::host).normalized();
    let contexts = request
        .named_contexts
        .iter()
        .map(|(name, context)| match context {
            NamedContext::Dir(_) => (name.clone(), None),
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
            platform: &platform,
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

/// Sends the warnings; with `# check=error=true` the first is an error.
fn tell_warnings(
    progress: &Progress<'_>,
    file: &SourceFile,
    parsed: &Dockerfile,
    graph: &Graph,
) -> Result<(), Error> {
    let check = parsed.directives.check.clone().unwrap_or_default();
    let skipped = |w: &Warning| check.skip_all || check.skip.iter().any(|s| s.eq_ignore_ascii_case(&w.rule));
    for warning in parsed.warnings.iter().chain(&graph.warnings).filter(|w| !skipped(w)) {
        let place = file.place(warning.span);
        if check.error {
            let message = format!("lint violation found for rule {}: {}", warning.rule, warning.message);
            return Err(Error::Dockerfile { message, place: Box::new(place), help: warning.help.clone() });
        }
        progress.send(Event::Warning {
            rule: warning.rule.clone(),
            message: warning.message.clone(),
            file: file.name.clone(),
            span: warning.span,
            help: warning.help.clone(),
            excerpt: place.excerpt,
        });
    }
    Ok(())
}

/// Runs the graph: base images are nodes too.
fn solve_all(session: &Session<'_>) -> Result<Vec<Output>, Error> {
    let graph = session.graph;
    let images = graph.images.len();
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); images];
    needs.extend(graph.ops.iter().map(|op| step::needs(session, op)));
    let workers = match session.env.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
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
