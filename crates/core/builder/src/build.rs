//! A whole build: read, lower, solve, export.

use crate::context::{Opened, Opener};
use crate::definition::{parse_error, read_dockerfile, read_ignore};
use crate::epoch::{self, Epoch};
use crate::error::Error;
use crate::event::Event;
use crate::export::statement::{SPDX, Statement};
use crate::graph::{Graph, NetKind, OpKind, Origin};
use crate::platforms::{Platformed, find_images, image_of, lower_platforms, platforms_of, suits};
use crate::progress::{Progress, in_turn};
use crate::request::{Built, BuiltImage, BuiltResult, Context, Env, LeftLayer, NetMode, Request};
use crate::session::{ContextTree, Output, Session, Shared, SourceFile, io_error};
use crate::source::Materials;
use crate::{exec, export, lines, policy, promise, scan, solve, step, transfer, verify};
use dockerfile::Warning;
use dockerfile::ast::Dockerfile;
use dockerfile::check::Surroundings;
use dockerfile::ignore::Ignore;
use oci::image::{Descriptor, ImageConfig};
use oci::{ChainId, Digest, Platform, Reference};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use store::Lease;

/// Builds an image.
pub fn build(
    env: &Env,
    context: Context,
    request: &Request,
    progress: &mut (dyn FnMut(Event) + Send),
) -> Result<Built, Error> {
    run(env, request, progress, |opener| {
        let remote = match &context {
            Context::Remote(address) => Some(address.clone()),
            _ => None,
        };
        let is_local = matches!(context, Context::Dir(_) | Context::Tar(_));
        policy::recipe(env, &context, &request.dockerfile)?;
        let Opened { root, time, only } = opener.main(context)?;
        let file = read_dockerfile(&root, &request.dockerfile, only, opener.progress)?;
        let options = dockerfile::Options { strict: request.strict, ..Default::default() };
        let parsed = dockerfile::parse(&file.text, options).map_err(|e| {
            let warnings = dockerfile::check::ahead(&file.text, options, &request.build_args);
            tell(opener.progress, &file, &warnings);
            parse_error(&file, e)
        })?;
        let ignore = read_ignore(&root, request, opener.progress)?;
        let mut named = opener.named()?;
        let began = step::timestamp();
        let root = match &request.context_subdir {
            Some(path) => root.open_root(path).map_err(io_error("open build context", Path::new(path)))?,
            None => root,
        };
        let mut context = ContextTree { root, ignore, time };
        let said = epoch::resolve(opener, &file, &parsed, &context, &mut named)?;
        let lowered = lower_platforms(env, request, &parsed, &file, said, opener.progress);
        let mut lowered = lowered.inspect_err(|error| {
            let before = |w: &Warning| error.place().is_some_and(|place| w.span.start <= place.span.start);
            let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
            let mut warnings = checked(
                request,
                &parsed,
                &context.ignore,
                &platform,
                Known { image: &|_, _| None, stages: None },
            );
            warnings.retain(before);
            tell(opener.progress, &file, &warnings);
            if let Some(place) = error.place() {
                opener.progress.send(lines::stuck(&parsed, place.span));
            }
        })?;
        let graphs = || lowered.iter().map(|one| &one.graph);
        policy::directories(env, &request.named_contexts, is_local, graphs())?;
        opener.fetch_read(graphs(), &mut named)?;
        for (name, sent) in opener.sent(graphs())? {
            match name {
                Some(name) => drop(named.insert(name, sent)),
                None => context.root = sent.root,
            }
        }
        settle(env, &file, (&context, &named), &mut lowered)?;
        let epoch = Epoch::new(said, request.source_date_epoch);
        Ok(Plan { remote, file, parsed, context, named, began, epoch, lowered, given: None })
    })
}

/// Builds what a client says as a graph: one for each platform, and no Dockerfile. No policy is asked about its sources: who made
/// the graph of a client's has done that.
pub fn build_graph(
    env: &Env,
    given: Given,
    request: &Request,
    progress: &mut (dyn FnMut(Event) + Send),
) -> Result<Built, Error> {
    entitled(request, &given)?;
    run(env, request, progress, |opener| {
        let Opened { root, time, .. } = opener.main(Context::Empty)?;
        let context = ContextTree { root, ignore: Ignore::default(), time };
        let mut named = opener.named()?;
        opener.fetch_read(given.graphs.iter().map(|given| &given.graph), &mut named)?;
        // Whoever gives a graph has said which files it is about.
        named.values_mut().for_each(|context| context.ignore = Ignore::default());
        let file = SourceFile { name: given.name, text: given.text };
        let parsed = dockerfile::parse(NOTHING, dockerfile::Options::default());
        let parsed = parsed.map_err(|e| parse_error(&file, e))?;
        let began = step::timestamp();
        let mut lowered = Vec::with_capacity(given.graphs.len());
        let platforms = platforms_of(given.graphs.iter().map(|given| &given.graph));
        for GivenGraph { platform, mut graph, claims } in given.graphs {
            let mut images = find_images(env, request, &file, (&graph, &platforms), opener.progress)?;
            if !claims.lists_packages() {
                scan::add(env, request, (&mut graph, &mut images), opener.progress)?;
            }
            lowered.push(Platformed { platform, graph, images, claims });
        }
        let epoch = epoch::of_graph(request);
        let given = Some(given.locals);
        Ok(Plan { remote: None, file, parsed, context, named, began, epoch, lowered, given })
    })
}

/// Whether the processes of a client's graph may have what they ask for.
fn entitled(request: &Request, given: &Given) -> Result<(), Error> {
    let is_open = request.allow_host_network || request.network == NetMode::Host;
    for op in given.graphs.iter().flat_map(|given| &given.graph.ops) {
        let OpKind::Run(run) = &op.kind else { continue };
        if run.insecure && !request.allow_insecure {
            return Err(Error::NotAllowed { what: "security.insecure", name: op.name.clone() });
        }
        if run.network == Some(NetKind::Host) && !is_open {
            return Err(Error::NotAllowed { what: "network.host", name: op.name.clone() });
        }
    }
    Ok(())
}

/// All that a build does, before anything of it is done.
struct Plan {
    /// The address of the context.
    remote: Option<String>,
    file: SourceFile,
    parsed: Dockerfile,
    context: ContextTree,
    named: BTreeMap<String, ContextTree>,
    /// When it was asked for.
    began: String,
    epoch: Epoch,
    lowered: Vec<Platformed>,
    /// It is a client's graph, which reads these directories of the client; the Dockerfile stands for nothing.
    given: Option<BTreeMap<String, String>>,
}

/// Does what `plan` says.
fn run(
    env: &Env,
    request: &Request,
    progress: &mut (dyn FnMut(Event) + Send),
    plan: impl FnOnce(&Opener<'_>) -> Result<Plan, Error>,
) -> Result<Built, Error> {
    let sink = in_turn(progress);
    let progress = Progress::new(&sink);
    let lease =
        env.store.lease("build").map_err(|e| Error::Store { attempt: "take lease", source: e.into() })?;
    let opener = Opener { env, request, lease: &lease, progress: &progress, materials: Mutex::default() };
    let plan = plan(&opener)?;
    let fetched = opener.materials.into_inner().unwrap_or_else(PoisonError::into_inner);
    let facts = export::Facts {
        remote: plan.remote.as_deref(),
        dockerfile: &plan.file.name,
        text: &plan.file.text,
        began: &plan.began,
        id: lease.id(),
        given: plan.given.as_ref(),
    };
    let imports = transfer::open(env, &lease, &env.cache_from, &progress);
    let job = Job {
        env,
        request,
        lease: &lease,
        progress: &progress,
        file: &plan.file,
        parsed: &plan.parsed,
        context: &plan.context,
        named: &plan.named,
        fetched: &fetched,
        epoch: plan.epoch,
        facts: &facts,
        imports: &imports,
        isolated: false,
    };
    if plan.given.is_none() {
        job.tell_warnings(&plan.lowered)?;
        progress.send(Event::Lines { lines: lines::lines(&plan.parsed, request, &plan.lowered) });
    }
    let parts = job.make(&plan.lowered)?;
    if request.verify && plan.given.is_none() {
        verify::verify(&job, &parts)?;
    }
    job.finish(&plan.lowered, parts)
}

/// Stands for a Dockerfile where there is none.
const NOTHING: &str = "FROM scratch\n";

/// What a client says as a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// One for each platform.
    pub graphs: Vec<GivenGraph>,
    /// What the file is called that the graph was made of; empty for none.
    pub name: String,
    /// Its text, which the operations' places lie in.
    pub text: String,
    /// The client's names of the directories that it reads, by the names of the contexts that they are.
    pub locals: BTreeMap<String, String>,
}

/// The same for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenGraph {
    /// What it is for.
    pub platform: Platform,
    /// What is done.
    pub graph: Graph,
    /// What is said of the result.
    pub claims: Claims,
}

/// What a client says of a result that it has put together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// What it attests.
    pub statements: Vec<Statement>,
    /// How what it was put together from was made: a SLSA v1 predicate with all that there is to tell.
    pub origin: Option<serde_json::Value>,
    /// It was made before anybody had said which time stands for now: where layers are to be no newer, those of them are made anew
    /// that are not, from the lowest up, these.
    pub undated: Option<Vec<Digest>>,
}

impl Claims {
    /// Whether it has listed the packages itself.
    fn lists_packages(&self) -> bool {
        self.statements.iter().any(|statement| statement.kind == SPDX)
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
    pub epoch: Epoch,
    pub facts: &'a export::Facts<'a>,
    /// What its contexts are that were fetched.
    pub fetched: &'a Materials,
    pub imports: &'a transfer::Imports,
    /// The cache does not learn of it.
    pub isolated: bool,
}

/// What was made for one platform.
pub(crate) struct Part {
    /// The image, if somebody wants it.
    pub made: Option<export::Made>,
    /// The layers of the result.
    chain: Option<ChainId>,
    /// What made each stack of layers.
    pub steps: Vec<(ChainId, String)>,
    used: BTreeSet<Digest>,
    promises: Vec<transfer::Promise>,
    cache_mounts: BTreeSet<String>,
    ran: u64,
    cached: u64,
}

impl<'a> Job<'a> {
    /// Solves for all platforms at once, and writes the images. What a cache turns out not to have after all is made.
    pub fn make(&self, lowered: &'a [Platformed]) -> Result<Vec<Part>, Error> {
        loop {
            let shared = Shared::default();
            match self.attempt(lowered, &shared) {
                Err(Error::Cancelled) if shared.lost.load(Ordering::SeqCst) => {}
                made => return made,
            }
        }
    }

    fn attempt(&self, lowered: &'a [Platformed], shared: &Shared) -> Result<Vec<Part>, Error> {
        let mut sessions: Vec<Session<'_>> = lowered.iter().map(|one| self.session(one, shared)).collect();
        sessions.iter().try_for_each(exec::renew_caches)?;
        for session in &mut sessions {
            (session.settled, session.left) = promise::settle(session);
        }
        let outputs = solve_all(&sessions);
        sessions.iter().for_each(Session::keep_indices);
        let outputs = outputs?;
        sessions.iter().try_for_each(step::keep)?;
        sessions.iter().zip(outputs).map(|(session, outputs)| self.part(session, &outputs)).collect()
    }

    fn session<'s>(&'s self, one: &'s Platformed, shared: &'s Shared) -> Session<'s> {
        Session {
            env: self.env,
            request: self.request,
            epoch: self.epoch,
            lease: self.lease,
            graph: &one.graph,
            platform: &one.platform,
            images: &one.images,
            claims: &one.claims,
            context: self.context,
            named: self.named,
            progress: self.progress,
            file: self.file,
            shared,
            isolated: self.isolated,
            imports: self.imports,
            settled: BTreeMap::new(),
            left: None,
            used: Mutex::default(),
            materials: Mutex::new(self.fetched.clone()),
            cache_mounts: Mutex::default(),
            earlier: OnceLock::new(),
            ran: AtomicU64::new(0),
            cached: AtomicU64::new(0),
        }
    }

    fn part(&self, session: &Session<'_>, outputs: &[Output]) -> Result<Part, Error> {
        let made = match self.request.wants_image() {
            true => Some(export::image(session, outputs, self.facts)?),
            false => None,
        };
        let images = session.graph.images.len();
        let steps = session.graph.ops.iter().zip(&outputs[images..]);
        Ok(Part {
            made,
            chain: session.node(&session.graph.result).and_then(|node| outputs[node].chain.clone()),
            steps: steps.filter_map(|(op, output)| Some((output.chain.clone()?, op.name.clone()))).collect(),
            used: session.used.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            promises: session.promises(),
            cache_mounts: session.cache_mounts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ran: session.ran.load(Ordering::Relaxed),
            cached: session.cached.load(Ordering::Relaxed),
        })
    }

    /// Sends the warnings, each once for all platforms; with `# check=error=true` they end the build.
    fn tell_warnings(&self, lowered: &[Platformed]) -> Result<(), Error> {
        let Job { request, progress, file, parsed, .. } = *self;
        let settings = dockerfile::check::settings(parsed, &request.build_args).map_err(|message| {
            Error::Checks { message: format!("failed to parse check options: {message}") }
        })?;
        let mut warnings: Vec<Warning> = Vec::new();
        for one in lowered {
            let mut more = self.warnings(one);
            more.retain(|warning| !warnings.contains(warning));
            warnings.extend(more);
        }
        tell(progress, file, &warnings);
        for (index, stage) in parsed.stages.iter().enumerate() {
            if lowered.iter().all(|one| !one.graph.stages.contains_key(&index)) {
                let name = stage.from.name.as_ref().map_or_else(|| index.to_string(), |n| n.text.clone());
                progress.send(Event::StageSkipped { stage: name });
            }
        }
        match dockerfile::check::violation(&warnings).filter(|_| settings.error) {
            Some(violation) => Err(Error::Checks { message: violation.message }),
            None => Ok(()),
        }
    }

    /// What is to be said of the file for one platform.
    fn warnings(&self, Platformed { platform, graph, images, .. }: &Platformed) -> Vec<Warning> {
        let config = |name: &str, platform: &Platform| {
            let reference = image_of(self.request, name, platform)?;
            let same = |u: &&crate::graph::ImageUse| u.reference == reference && u.platform == *platform;
            let used = graph.images.iter().position(|u| same(&u))?;
            images.get(used).map(|image| image.config.clone())
        };
        let stages = graph.stages.keys().copied().collect();
        let known = Known { image: &config, stages: Some(&stages) };
        checked(self.request, self.parsed, &self.context.ignore, platform, known)
    }

    /// Records the images, and sends the cache where it is to go.
    fn finish(&self, lowered: &[Platformed], parts: Vec<Part>) -> Result<Built, Error> {
        self.note(lowered, &parts);
        let built = self.publish(parts)?;
        if !self.env.cache_to.is_empty() {
            let sum = self.env.earlier.lock();
            let used = transfer::Used { env: self.env, lease: self.lease, sum: &sum };
            self.request.cancel.stops(self.lease);
            self.env.cache_to.iter().try_for_each(|target| transfer::send(&used, target, self.progress))?;
        }
        Ok(built)
    }

    /// Adds what was used of the cache to what the solves before have used.
    fn note(&self, lowered: &[Platformed], parts: &[Part]) {
        let mut sum = self.env.earlier.lock();
        for part in parts {
            sum.keys.extend(part.used.iter().cloned());
            sum.promises.extend(part.promises.iter().map(|promise| (promise.key.clone(), promise.clone())));
            sum.mounts.extend(part.cache_mounts.iter().cloned());
            sum.results.extend(part.chain.clone());
        }
        sum.bases(lowered.iter().flat_map(|one| &one.images));
    }

    /// Records the images and names them.
    fn publish(&self, parts: Vec<Part>) -> Result<Built, Error> {
        let (ran, cached) = (parts.iter().map(|p| p.ran).sum(), parts.iter().map(|p| p.cached).sum());
        let made: Option<Vec<export::Made>> = parts.into_iter().map(|part| part.made).collect();
        let result = made.map(|made| self.export(made)).transpose()?;
        Ok(Built { result, ran, cached, source_date_epoch: self.epoch.written })
    }

    fn export(&self, made: Vec<export::Made>) -> Result<BuiltResult, Error> {
        // An image stays that has all of its layers.
        let stays = made.iter().all(|made| made.left.is_none());
        let step = self.progress.step("exporting to image", "", "");
        let failed = |error: &Error| step.failed(error.chain());
        let target = export::target(self.env, self.lease, self.request, &made).inspect_err(failed)?;
        let (mut is_new, mut tags) = (vec![false; made.len()], Vec::new());
        if stays {
            is_new = export::record(self.env, self.request, &made, &target).inspect_err(failed)?;
            tags = export::names(self.request, &target.digest);
        }
        for made in &made {
            step.status(format!("writing image {}", made.image_id));
        }
        for tag in &tags {
            step.status(format!("naming to {tag}"));
        }
        step.done();
        let (sent, documents) = match stays {
            true => Default::default(),
            false => (self.send(&made, &target)?, export::documents(self.env, &made, &target)?),
        };
        let images: Vec<BuiltImage> = made.into_iter().map(export::Made::built).collect();
        // The one that this machine can run stands for all.
        let best = Platform::host().best(images.iter().map(|m| Some(&m.platform))).unwrap_or(0);
        let (image_id, manifest) = (images[best].image_id.clone(), images[best].manifest.digest.clone());
        self.progress.send(Event::Image { image: image_id.clone(), is_new: is_new[best] });
        Ok(BuiltResult { image_id, manifest, tags, target, images, sent, documents })
    }

    /// Sends what does not stay to its registries, which have the layers of it that are not here.
    fn send(
        &self,
        made: &[export::Made],
        target: &Descriptor,
    ) -> Result<Vec<(Reference, Descriptor)>, Error> {
        let left: Vec<LeftLayer> = made.iter().flat_map(|made| made.left.iter().flatten()).cloned().collect();
        let Some(outlet) = &self.env.outlet else { return Ok(Vec::new()) };
        let send = |name: &Reference| {
            let step = self.progress.step(&format!("pushing {}", name.familiar()), "", "");
            let sent = (outlet.send)(name, &target.digest, &left).map_err(|source| {
                let error = match self.request.cancel.is_cancelled() {
                    true => Error::Cancelled,
                    false => Error::Push { name: name.familiar(), source },
                };
                step.failed(error.chain());
                error
            })?;
            step.done();
            Ok((name.clone(), sent))
        };
        outlet.names.iter().map(send).collect()
    }
}

/// Settles what lines mean that end in a comment, and has the policy look at what is fetched then.
pub(crate) fn settle(
    env: &Env,
    file: &SourceFile,
    (context, named): (&ContextTree, &BTreeMap<String, ContextTree>),
    lowered: &mut [Platformed],
) -> Result<(), Error> {
    for Platformed { graph, .. } in lowered {
        for op in &mut graph.ops {
            let OpKind::Copy(copy) = &mut op.kind else { continue };
            let context = match &copy.from {
                Origin::Context(None) => Some(context),
                Origin::Context(Some(name)) => named.get(name),
                Origin::Fs(_) => None,
            };
            copy.settle(|path| context.is_some_and(|context| context.has(path)));
        }
        policy::apply(env, graph, file)?;
    }
    Ok(())
}

/// What checks know of a build.
struct Known<'a> {
    /// The configurations of base images.
    image: &'a dyn Fn(&str, &Platform) -> Option<ImageConfig>,
    /// The stages that are built, if that is known.
    stages: Option<&'a BTreeSet<usize>>,
}

/// The warnings of a file.
fn checked(
    request: &Request,
    parsed: &Dockerfile,
    ignore: &Ignore,
    platform: &Platform,
    known: Known<'_>,
) -> Vec<Warning> {
    let around = Surroundings {
        build_args: &request.build_args,
        target: request.target.as_deref(),
        platform,
        build_platform: &Platform::host(),
        image: known.image,
        suits: &|actual| suits(request, actual),
        ignore: Some(ignore),
        stages: known.stages,
    };
    dockerfile::check::check(parsed, &around)
}

/// Sends warnings.
fn tell(progress: &Progress<'_>, file: &SourceFile, warnings: &[Warning]) {
    for warning in warnings {
        progress.send(Event::Warning {
            rule: warning.rule.clone(),
            message: warning.message.clone(),
            file: file.name.clone(),
            span: warning.span,
            help: warning.help.clone(),
            excerpt: file.place(warning.span).excerpt,
        });
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
                Some(settled) => step::settled(session, &session.graph.ops[op], settled, inputs),
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
