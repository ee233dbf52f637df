//! What is to be made for each platform: the Dockerfile lowered, with the images that it turns out to need.

use crate::build::Claims;
use crate::error::Error;
use crate::export::emulation;
use crate::graph::{Graph, ImageUse};
use crate::lower::{self, Devices, ImageKey, Inputs, Lowered};
use crate::progress::{Progress, Step};
use crate::request::{Env, Image, ImageRequest, NamedContext, NetMode, Request};
use crate::scan;
use crate::session::SourceFile;
use dockerfile::Span;
use dockerfile::ast::Dockerfile;
use oci::Platform;
use oci::image::ImageConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use store::side_by_side;

/// The graph of one platform's image, with its base images.
pub(crate) struct Platformed {
    pub platform: Platform,
    pub graph: Graph,
    pub images: Vec<Image>,
    pub claims: Claims,
}

/// Lowers, once a platform. Where there are several, each step says which it is for.
pub(crate) fn lower_platforms(
    env: &Env,
    request: &Request,
    parsed: &Dockerfile,
    file: &SourceFile,
    epoch: Option<Option<i64>>,
    progress: &Progress<'_>,
) -> Result<Vec<Platformed>, Error> {
    let host = [Platform::host()];
    let platforms = if request.platforms.is_empty() { &host[..] } else { &request.platforms };
    let platforms: Vec<Platform> = platforms.iter().map(Platform::normalized).collect();
    let graphs = lower_all(env, request, (&platforms, epoch), parsed, file, progress)?;
    let mut lowered = Vec::with_capacity(platforms.len());
    for (platform, (mut graph, mut images)) in platforms.iter().zip(graphs) {
        scan::add(env, request, (&mut graph, &mut images), progress)?;
        if platforms.len() > 1 {
            graph.images.iter_mut().for_each(|used| prefix(&mut used.name, &used.platform.to_string()));
            graph.ops.iter_mut().for_each(|op| prefix(&mut op.name, &op.platform.to_string()));
        }
        lowered.push(Platformed { platform: platform.clone(), graph, images, claims: Claims::default() });
    }
    Ok(lowered)
}

/// `[build 2/4] RUN make` becomes `[linux/arm64 build 2/4] RUN make`.
fn prefix(name: &mut String, word: &str) {
    if let Some(rest) = name.strip_prefix('[') {
        *name = format!("[{word} {rest}");
    }
}

/// The platforms that images are wanted for, by their names.
pub(crate) type PlatformsOf = BTreeMap<String, BTreeSet<Platform>>;

/// Which platforms graphs want their images for.
pub(crate) fn platforms_of<'g>(graphs: impl Iterator<Item = &'g Graph>) -> PlatformsOf {
    let mut platforms = PlatformsOf::new();
    for used in graphs.flat_map(|graph| &graph.images) {
        platforms.entry(used.reference.clone()).or_default().insert(used.platform.clone());
    }
    platforms
}

/// Finds the images that a graph names, which others of the build may want for further platforms.
pub(crate) fn find_images(
    env: &Env,
    request: &Request,
    file: &SourceFile,
    (graph, platforms): (&Graph, &PlatformsOf),
    progress: &Progress<'_>,
) -> Result<Vec<Image>, Error> {
    let find = |used: &ImageUse| {
        let wanted = ImageRequest {
            reference: used.reference.clone(),
            platform: used.platform.clone(),
            platforms: platforms.get(&used.reference).cloned().unwrap_or_default(),
            pull: request.pull,
        };
        // It is told as a step of its own where there is something to tell.
        let step = OnceLock::new();
        let began = || step.get_or_init(|| progress.step(&used.name, "", ""));
        let found = (env.images)(&wanted, &|line| began().line(&line)).map_err(|source| {
            let place = Box::new(file.place(used.span));
            Error::Image { reference: used.reference.clone(), place, near: None, source }
        });
        match &found {
            Ok(_) => step.get().into_iter().for_each(Step::done),
            Err(error) => began().failed(error.chain()),
        }
        found
    };
    side_by_side(AT_ONCE, graph.images.iter().collect(), find)
}

/// Registries are asked for so many images at once: a file may name thousands.
const AT_ONCE: usize = 8;

/// The contexts by name as one platform sees them: `name::platform` is for that platform alone, and goes before `name`.
pub(crate) fn contexts_of(request: &Request, platform: &Platform) -> BTreeMap<String, Option<String>> {
    let mut contexts = BTreeMap::new();
    // A name comes before the same name with a platform.
    for (name, context) in &request.named_contexts {
        let image = match context {
            NamedContext::Dir(_) | NamedContext::Remote(_) | NamedContext::Client => None,
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

/// Whether a base image for another platform is as good: nobody asked for one, and this machine runs it.
pub(crate) fn suits(request: &Request, actual: &Platform) -> bool {
    request.platforms.is_empty() && emulation::runs(actual)
}

/// The image that a name in a Dockerfile means for a platform: contexts come before images.
pub(crate) fn image_of(request: &Request, name: &str, platform: &Platform) -> Option<String> {
    let contexts = contexts_of(request, platform);
    let shortest = || contexts.get(&oci::Reference::shortest(name)?);
    contexts.get(name).or_else(shortest).map_or_else(|| Some(name.to_owned()), Clone::clone)
}

/// Goes through a file as a request asks for it, with what is known of its base images.
pub(crate) fn with_inputs<T>(
    request: &Request,
    file: &Dockerfile,
    (platform, epoch): (&Platform, Option<Option<i64>>),
    devices: &Devices<'_>,
    images: &BTreeMap<ImageKey, ImageConfig>,
    go: fn(&Inputs<'_>) -> Result<T, lower::Error>,
) -> Result<T, lower::Error> {
    go(&Inputs {
        file,
        build_args: &request.build_args,
        epoch,
        target: request.target.as_deref(),
        platform,
        build_platform: &Platform::host(),
        suits: &|actual| suits(request, actual),
        images,
        contexts: &contexts_of(request, platform),
        labels: &request.labels,
        no_cache: request.no_cache,
        no_cache_filter: &request.no_cache_filter,
        allow_insecure: request.allow_insecure,
        allow_host_network: request.allow_host_network || request.network == NetMode::Host,
        devices,
    })
}

/// Lowers for all platforms, fetching configurations of base images as they turn out to be needed.
fn lower_all(
    env: &Env,
    request: &Request,
    (platforms, epoch): (&[Platform], Option<Option<i64>>),
    parsed: &Dockerfile,
    file: &SourceFile,
    progress: &Progress<'_>,
) -> Result<Vec<(Graph, Vec<Image>)>, Error> {
    let devices = Devices::new(&request.allow_devices, &env.cdi);
    let mut bases = Bases::default();
    loop {
        if request.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let configs = bases.configs();
        let (mut graphs, mut needs) = (Vec::with_capacity(platforms.len()), BTreeMap::new());
        for platform in platforms {
            let lowered = with_inputs(request, parsed, (platform, epoch), &devices, &configs, lower::lower);
            match lowered.map_err(|e| lower_error(file, e))? {
                Lowered::Needs(more) => needs.extend(more),
                Lowered::Graph(graph) => graphs.push(*graph),
            }
        }
        if needs.is_empty() {
            let used: Vec<Vec<Image>> = graphs.iter().map(|graph| bases.of(graph)).collect();
            return Ok(graphs.into_iter().zip(used).collect());
        }
        bases.fetch(env, request, (parsed, file), needs, progress)?;
    }
}

/// The base images that a file has turned out to need so far.
#[derive(Default)]
struct Bases {
    /// All that were asked for, and where they are named.
    asked: BTreeMap<ImageKey, Span>,
    found: BTreeMap<ImageKey, Image>,
}

impl Bases {
    fn configs(&self) -> BTreeMap<ImageKey, ImageConfig> {
        self.found.iter().map(|(key, image)| (key.clone(), image.config.clone())).collect()
    }

    /// Those of a graph.
    fn of(&self, graph: &Graph) -> Vec<Image> {
        let key = |u: &ImageUse| ImageKey { reference: u.reference.clone(), platform: u.platform.clone() };
        graph.images.iter().filter_map(|used| self.found.get(&key(used)).cloned()).collect()
    }

    /// Asks for images side by side. Which version a name stands for hangs on all platforms that it is wanted for: with
    /// another one it is asked for again for those before.
    fn fetch(
        &mut self,
        env: &Env,
        request: &Request,
        (parsed, file): (&Dockerfile, &SourceFile),
        needs: BTreeMap<ImageKey, Span>,
        progress: &Progress<'_>,
    ) -> Result<(), Error> {
        self.found.retain(|known, _| needs.keys().all(|key| key.reference != known.reference));
        self.asked.extend(needs);
        let mut platforms = PlatformsOf::new();
        for key in self.asked.keys() {
            platforms.entry(key.reference.clone()).or_default().insert(key.platform.clone());
        }
        let missing = self.asked.iter().filter(|(key, _)| !self.found.contains_key(*key));
        let found = side_by_side(AT_ONCE, missing.collect(), |(key, span)| {
            let wanted = ImageRequest {
                reference: key.reference.clone(),
                platform: key.platform.clone(),
                platforms: platforms.get(&key.reference).cloned().unwrap_or_default(),
                pull: request.pull,
            };
            let image = load_metadata(env, request, (parsed, file), (&wanted, *span), progress);
            image.map(|image| (key.clone(), image))
        })?;
        self.found.extend(found);
        Ok(())
    }
}

/// Asks for one image.
fn load_metadata(
    env: &Env,
    request: &Request,
    (parsed, file): (&Dockerfile, &SourceFile),
    (wanted, span): (&ImageRequest, Span),
    progress: &Progress<'_>,
) -> Result<Image, Error> {
    let reference = ImageUse::shown(&wanted.reference);
    let step = progress.step(&format!("[internal] load metadata for {reference}"), "", "");
    let found = (env.images)(wanted, &|line| step.line(&line)).map_err(|source| {
        let place = Box::new(file.place(span));
        let stages = parsed.stages.iter().filter_map(|stage| stage.from.name.as_ref());
        let stages: Vec<&str> = stages.map(|name| name.text.as_str()).collect();
        let names = stages.iter().copied().chain(request.named_contexts.keys().map(String::as_str));
        let near = dockerfile::nearest(&wanted.reference, names).map(|near| match stages.contains(&near) {
            true => format!("the stage {near}"),
            false => format!("the context {near}"),
        });
        Error::Image { reference, place, near, source }
    });
    match &found {
        Ok(_) => step.done(),
        Err(error) => step.failed(error.chain()),
    }
    found
}

pub(crate) fn lower_error(file: &SourceFile, error: lower::Error) -> Error {
    match error {
        lower::Error::NoTarget { name, known } => Error::NoTarget { name, known },
        lower::Error::At { message, span, help } => {
            Error::Dockerfile { message, place: Box::new(file.place(span)), help }
        }
    }
}
