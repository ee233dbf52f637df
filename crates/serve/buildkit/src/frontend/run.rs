//! One solve: the client's files come, the engine builds, what happens is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::build::BuildOptions;
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::pb::Definition;
use engine::builds::graph::Given;
use engine::builds::{
    self, BoxError, Bring, Built, ContextSource, Held, Loan, Order, Questions, is_git, is_remote,
};
use engine::images::Who;
use oci::Reference;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tonic::Status;

use super::attributes::{self, Attributes};
use super::call;
use super::context::{Question, Recipes};
use super::exporters;
use super::folders::Folders;
use super::origin;
use crate::Host;
use crate::build::{Build, Made};
use crate::fault::{self, Recipe};
use crate::llb::Blame;
use crate::policy;
use crate::session::{Agents, Session};
use crate::sources::secrets_of;

/// Events that wait to be told.
const BACKLOG: usize = 256;

/// What a solve gives.
pub enum Solved {
    Image(Box<Made>),
    /// The answer to a question about the Dockerfile.
    Answer(HashMap<String, Vec<u8>>),
}

/// Solves with a frontend.
pub async fn solve(
    host: &Host,
    build: &Build,
    frontend: &str,
    attributes: &Attributes,
    inputs: HashMap<String, Definition>,
) -> Result<Solved, Status> {
    check(frontend, attributes)?;
    let mut options = attributes::options(attributes, &build.order)?;
    // What is made before belongs to this build.
    let record = build.record();
    options.extras.export.request = origin::request(host, build, &inputs)?;
    let mut question = Question { host, build, attributes, inputs };
    question.settle().await?;
    let request = attributes.get("requestid").filter(|id| !id.is_empty());
    let mut recipes = match request {
        // What can be asked is known without the client's files.
        Some(request) if !call::reads(request) => None,
        _ => question.recipes().await?,
    };
    if let Some(recipes) = &recipes {
        build.told.reads(recipes.recipe.clone());
    }
    if let Some(request) = request {
        if recipes.is_none() && call::reads(request) {
            recipes = Some(elsewhere(&question, options.clone()).await?);
        }
        let answer = call::call(host, build, request, &options, recipes.as_ref()).await?;
        return Ok(Solved::Answer(answer));
    }
    let exporters = exporters::exporters(&build.order);
    options.tags = exporters.iter().filter(|e| exporters::keeps(e)).flat_map(exporters::names).collect();
    let split = attributes.get("multi-platform").is_some_and(|text| matches!(text.as_str(), "true" | "1"));
    options.extras.export.index = split;
    let mut folders = Folders::new(host, build).await?;
    question.named(&mut options, &mut folders).await?;
    let context = question.context(recipes.as_ref(), &mut options, &mut folders).await?;
    let asked = Asked { files: folders.bring(), record, split, ..Asked::default() };
    let made = order(host, build, options, context, asked).await;
    folders.forget();
    made.map(|made| Solved::Image(Box::new(made)))
}

/// The Dockerfile of a context that is fetched.
async fn elsewhere(question: &Question<'_>, mut options: BuildOptions) -> Result<Recipes, Status> {
    let (host, build) = (question.host, question.build);
    let mut folders = Folders::new(host, build).await?;
    let context = question.context(None, &mut options, &mut folders).await?;
    let mut asked = Questions::default();
    if !build.order.session.is_empty() {
        let session = host.find_session(&build.order.session).await?;
        if let ContextSource::Remote(address) = &context {
            repositories(&session, address, &mut options).await?;
        }
        asked = questions(host, build, &session);
    }
    let step = build.told.step("[internal] load remote build context");
    let found = builds::definition(host.engine(), options, context, build.reach, asked).await;
    let found = step.end(found.map_err(fault::status))?;
    let recipe = Recipe { name: found.name, text: found.text, definition: None };
    Ok(Recipes { recipe, ignore: found.ignore })
}

/// Builds with options that are given, where the context may be too.
pub async fn classic(
    host: &Host,
    build: &Build,
    attributes: &Attributes,
    mut options: BuildOptions,
    context: Option<ContextSource>,
) -> Result<Made, Status> {
    let mut folders = Folders::new(host, build).await?;
    let context = match context {
        Some(context) => context,
        None => {
            let question = Question { host, build, attributes, inputs: HashMap::new() };
            let recipes = question.recipes().await?;
            if let Some(recipes) = &recipes {
                build.told.reads(recipes.recipe.clone());
            }
            question.context(recipes.as_ref(), &mut options, &mut folders).await?
        }
    };
    let record = build.record();
    let asked = Asked { files: folders.bring(), record, ..Asked::default() };
    let made = order(host, build, options, context, asked).await;
    folders.forget();
    made
}

/// What is refused before anything is read.
fn check(frontend: &str, attributes: &Attributes) -> Result<(), Status> {
    match (frontend, attributes.get("source").map_or("", String::as_str)) {
        ("dockerfile.v0", _) => {}
        // Every version of Docker's own frontend is served by the one that is built in.
        ("gateway.v0", source) if dockerfile::reads_dockerfiles(source) => {}
        ("gateway.v0", source) => {
            return Err(Status::unimplemented(format!(
                "frontend {source} is not supported: this server builds Dockerfiles and runs no frontend images"
            )));
        }
        ("", _) => return Err(Status::invalid_argument("neither a frontend nor a definition is given")),
        (other, _) => {
            return Err(Status::unimplemented(format!(
                "frontend {other} is not supported: use the frontend dockerfile.v0"
            )));
        }
    }
    Ok(())
}

/// What the engine is asked for besides options and context.
#[derive(Default)]
pub struct Asked<'a> {
    /// The files of the client's own directories, by the names of the contexts that they are.
    pub files: BTreeMap<Option<String>, Bring>,
    /// The name of the record.
    pub record: Option<String>,
    /// A directory for each platform.
    pub split: bool,
    /// The client's own graph that is built.
    pub blame: Option<&'a Blame>,
    /// The client only reads it: the caches of its build need not have it.
    pub is_read: bool,
}

/// Has the engine build.
pub async fn order(
    host: &Host,
    build: &Build,
    mut options: BuildOptions,
    context: ContextSource,
    asked: Asked<'_>,
) -> Result<Made, Status> {
    let Asked { files, record, split, blame, is_read } = asked;
    let repository = match &context {
        ContextSource::Remote(address) if is_git(address) => Some(address.clone()),
        _ => None,
    };
    let Client { called, credentials, questions } = client(host, build, repository, &mut options).await?;
    // The record says all of how the result was made, and so does what is made from it.
    options.extras.export.told_provenance = "max".to_owned();
    let lease = builds::hold(host.engine()).await.map_err(fault::status)?;
    let loan = Arc::new(Loan::new(host.engine(), lease.clone()));
    let order = Order {
        options,
        context,
        reach: build.reach,
        credentials,
        questions: Questions { files, ..questions },
        record: self::record(build, record, Some(called)),
        keep_mounts: build.is_conversation(),
        earlier: if is_read { Arc::default() } else { build.earlier.clone() },
        held: Some(Held { lease, lent: true }),
    };
    let run = build.told.run();
    match Box::pin(told(host, build, order, run)).await {
        Ok(built) => Ok(made(loan, &built, split)),
        Err(error) => Err(failed(host, build, (run, blame), error).await),
    }
}

/// Who has asked for a build.
struct Client {
    /// What it calls its context.
    called: String,
    credentials: BTreeMap<String, Who>,
    questions: Questions,
}

/// The client of a build's session, with what opens the `repository` of its context; a build without one asks nobody.
async fn client(
    host: &Host,
    build: &Build,
    repository: Option<String>,
    options: &mut BuildOptions,
) -> Result<Client, Status> {
    let unnamed = || "context".to_owned();
    if build.order.session.is_empty() {
        let (credentials, questions) = (BTreeMap::new(), Questions::default());
        return Ok(Client { called: unnamed(), credentials, questions });
    }
    let session = host.find_session(&build.order.session).await?;
    if let Some(address) = repository {
        repositories(&session, &address, options).await?;
    }
    let called = Some(session.context_name()).filter(|name| !name.is_empty());
    let called = called.map_or_else(unnamed, str::to_owned);
    let credentials = credentials(&session, options).await;
    Ok(Client { called, credentials, questions: questions(host, build, &session) })
}

/// Builds, and tells what happens meanwhile.
async fn told(host: &Host, build: &Build, order: Order, run: u32) -> Result<Built, engine::Error> {
    let (sender, mut receiver) = mpsc::channel(BACKLOG);
    let listen = async {
        while let Some(event) = receiver.recv().await {
            if let Some(event) = builds::document(event) {
                build.told.event(run, &event);
            }
        }
    };
    tokio::join!(builds::build(host.engine(), order, sender), listen).0
}

/// What was made, with how that was done apart from it.
fn made(loan: Arc<Loan>, built: &Built, split: bool) -> Made {
    let mut details = builds::details(built);
    let is_new = |told: &serde_json::Value| told.get("buildDefinition").is_some();
    let origins = details.images.iter().map(|image| image.provenance.clone().filter(is_new)).collect();
    details.images.iter_mut().for_each(|image| image.provenance = None);
    let mut made = Made::new(loan, details, split);
    made.origins = origins;
    made
}

/// How a build is remembered.
pub fn record(build: &Build, id: Option<String>, context: Option<String>) -> builds::Record {
    builds::Record { id, context, attributes: attributes::shown(&build.order.frontend_attrs) }
}

/// Where the files of a build come from that was never begun, as far as its order says.
pub fn context_of(order: &SolveRequest) -> ContextSource {
    let address = order.frontend_attrs.get("context").filter(|address| is_remote(address));
    match (order.frontend.as_str(), address) {
        ("", _) => {
            let (name, text) = (String::new(), String::new());
            let (graphs, locals) = (Vec::new(), BTreeMap::new());
            ContextSource::Graph(Box::new(Given { graphs, name, text, locals }))
        }
        (_, Some(address)) => ContextSource::Remote(address.clone()),
        (_, None) => ContextSource::Client,
    }
}

/// Why the engine's build failed, with what a client that still talks with us may look at.
async fn failed(
    host: &Host,
    build: &Build,
    (run, blame): (u32, Option<&Blame>),
    error: engine::Error,
) -> Status {
    let left = error.build.as_ref().and_then(|failure| failure.left.clone());
    let mut details: Vec<_> = build.told.failed(run).map(|step| fault::step(&step)).into_iter().collect();
    if let Some(left) = left.filter(|_| build.is_conversation()) {
        details.extend(crate::left::detail(host, build, left).await);
    }
    if let (Some(blame), Some(failure)) = (blame, &error.build) {
        details.extend(blame.details(host, build, failure).await);
    }
    fault::of_build(error, &build.told.recipe(), details)
}

/// What the client can be asked while its build runs.
fn questions(host: &Host, build: &Build, session: &Session) -> Questions {
    let runtime = Handle::current();
    let boxed = |status: Status| BoxError::from(status.message().to_owned());
    let agents = Agents::new(host.engine().clone(), session.clone());
    let (ask_credentials, ask_secrets) = (session.clone(), session.clone());
    let (first, second, third) = (runtime.clone(), runtime.clone(), runtime);
    Questions {
        credentials: Some(Arc::new(move |registry| {
            let answer = first.block_on(ask_credentials.credentials(registry));
            answer.inspect_err(|status| tracing::debug!(%status, registry, "credentials")).ok()
        })),
        secrets: Some(Arc::new(move |id| second.block_on(ask_secrets.secret(id)).map_err(boxed))),
        agents: Some(Arc::new(move |id| third.block_on(agents.socket(id)).map_err(boxed))),
        files: BTreeMap::new(),
        contents: Some(Arc::new(session.stores(&build.life, build.cache_note()))),
        policy: policy::ask(host, build),
        answered: host.made_here(),
    }
}

/// Who the client is to the registries of caches, which are opened before the build begins.
async fn credentials(session: &Session, options: &BuildOptions) -> BTreeMap<String, Who> {
    let mut known = BTreeMap::new();
    for cache in options.extras.caches_from.iter().chain(&options.extras.caches_to) {
        let Some(Ok(reference)) = cache.get("ref").map(|text| Reference::parse(text)) else { continue };
        if known.contains_key(&reference.domain) {
            continue;
        }
        if let Ok(who) = session.credentials(&reference.domain).await {
            known.insert(reference.domain, who);
        }
    }
    known
}

/// The client's secrets for the host of a repository.
async fn repositories(session: &Session, address: &str, options: &mut BuildOptions) -> Result<(), Status> {
    let secrets = secrets_of(session, address).await?;
    options.extras.secrets.extend(secrets.into_iter().map(|(id, secret)| (id, fault::base64(&secret))));
    Ok(())
}
