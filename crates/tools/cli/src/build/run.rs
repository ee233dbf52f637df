mod options;

pub use options::entitlements;

use api::JsonMessage;
use api::build::{BuildDetails, BuildExtras, BuildOptions, BuildResult};
use api::containers::Ulimit;
use client::JsonLines;

use super::call::{Asked, Call, Reply};
use super::deliver::{self, Delivery, Pushed};
use super::output::{self, Kind, Output};
use super::screen::{Screen, Shown, View};
use super::source::{Source, source, with_text};
use super::ssh::Agents;
use super::{foreign, git, metadata, secrets};
use crate::buildx::Plugin;
use crate::context::Cli;
use crate::error::Error;
use crate::flags::integer;
use crate::format::units::{ram_in_bytes, swap_bytes};
use crate::options::{env, ulimit};
use crate::registry::credentials;
use crate::stream::signals::interruptible;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Add a line to /etc/hosts of the steps, as name:address
    #[arg(long)]
    add_host: Vec<String>,
    /// Allow what is off otherwise: network.host, security.insecure, device or buildx.local.delete
    #[arg(long)]
    allow: Vec<String>,
    /// Annotate the image, as [manifest:|index:]key=value
    #[arg(long)]
    annotation: Vec<String>,
    /// Attach attestations, as type=provenance or type=sbom
    #[arg(long)]
    attest: Vec<String>,
    /// Set a build argument; a name alone hands on your own variable
    #[arg(long)]
    build_arg: Vec<String>,
    /// Another source of files, as name=directory, docker-image://reference, oci-layout://directory or a URL
    #[arg(long)]
    build_context: Vec<String>,
    #[command(flatten)]
    plugin: Plugin,
    /// Caches to take results from: an image, or type=local, registry or s3 with options
    #[arg(long)]
    cache_from: Vec<String>,
    /// Caches to send results to, as type=local, registry, s3 or inline with options
    #[arg(long)]
    cache_to: Vec<String>,
    /// Ask in place of building: "check", "outline" or "targets", with ",format=json" for programs
    #[arg(long, value_name = "method")]
    call: Option<String>,
    /// Compress the context where it is sent to a server
    #[arg(long)]
    compress: bool,
    /// Control group to put the steps below
    #[arg(long)]
    cgroup_parent: Option<String>,
    /// Length of the CPU scheduler's period, in microseconds
    #[arg(long, value_name = "int", value_parser = integer)]
    cpu_period: Option<i64>,
    /// CPU time in a period, in microseconds
    #[arg(long, value_name = "int", value_parser = integer)]
    cpu_quota: Option<i64>,
    /// Tell the warnings and build nothing, as --call=check does
    #[arg(long)]
    check: bool,
    /// Share of the CPUs
    #[arg(short, long, value_name = "int", value_parser = integer)]
    cpu_shares: Option<i64>,
    /// CPUs to run on, such as 0-3 or 0,1
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0-3 or 0,1
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Accepted for old scripts; images are not signed
    #[arg(long, default_value_t = true, hide = true)]
    disable_content_trust: bool,
    /// Say at the end of each step why it ran, or that it was not needed
    #[arg(long)]
    explain: bool,
    /// Name of the Dockerfile; - reads it from standard input
    #[arg(short, long)]
    file: Option<String>,
    /// Accepted for old scripts; no step leaves a container behind
    #[arg(long, hide = true)]
    force_rm: bool,
    /// Write the image's id to this file
    #[arg(long)]
    iidfile: Option<String>,
    /// Isolation of the steps; "default" is the one that Linux has
    #[arg(long)]
    isolation: Option<String>,
    /// Run so many steps at once at most
    #[arg(long, value_name = "int")]
    jobs: Option<u32>,
    /// Set a label of the image
    #[arg(long, value_parser = env::label)]
    label: Vec<String>,
    /// Keep the result as an image, as is always done
    #[arg(long)]
    load: bool,
    /// Most memory of a step, such as 512m
    #[arg(short, long, value_name = "bytes", value_parser = ram_in_bytes)]
    memory: Option<i64>,
    /// Most memory and swap of a step together; -1 does not limit swap
    #[arg(long, value_name = "bytes", value_parser = swap_bytes)]
    memory_swap: Option<i64>,
    /// Write the result's ids and names to this file
    #[arg(long)]
    metadata_file: Option<String>,
    /// Network of the steps: "default", "none", "host" or a network's name
    #[arg(long)]
    network: Option<String>,
    /// Take nothing from the cache
    #[arg(long)]
    no_cache: bool,
    /// Take nothing from the cache in these stages
    #[arg(long, value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Where the result goes to: a directory, -, or type=local, tar, oci, docker, image, registry or cacheonly with options
    #[arg(short, long)]
    output: Vec<String>,
    /// Platforms to build for, such as linux/arm64; several make an index
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// Policies for sources, as disabled=true; there are none
    #[arg(long)]
    policy: Vec<String>,
    /// Kind of progress: "auto", "plain", "tty", "quiet", "none" or "rawjson"
    #[arg(long)]
    pub progress: Option<String>,
    /// Attach how the image was made: "true", "mode=max" or "false"
    #[arg(long)]
    provenance: Option<String>,
    /// Look for newer base images
    #[arg(long)]
    pull: bool,
    /// Send the result to its registry
    #[arg(long)]
    push: bool,
    /// Print the image's id only
    #[arg(short, long)]
    pub quiet: bool,
    /// Accepted for old scripts; no step leaves a container behind
    #[arg(long, default_value_t = true, hide = true)]
    rm: bool,
    /// Limits of the steps, as memory=2g or cpu-quota=50000
    #[arg(long)]
    resource: Vec<String>,
    /// Attach the list of packages in the image: "true", "generator=image" or "false"
    #[arg(long)]
    sbom: Option<String>,
    /// A secret for RUN --mount=type=secret, as id=name,src=file or id=name,env=VARIABLE
    #[arg(long)]
    secret: Vec<String>,
    /// Security option
    #[arg(long, value_delimiter = ',')]
    security_opt: Vec<String>,
    /// Size of /dev/shm of the steps
    #[arg(long, value_name = "bytes", value_parser = ram_in_bytes)]
    shm_size: Option<i64>,
    /// Make one layer of the new ones
    #[arg(long)]
    squash: bool,
    /// An ssh agent for RUN --mount=type=ssh, as default, id=socket or id=key
    #[arg(long)]
    ssh: Vec<String>,
    /// Name of the image; may be repeated
    #[arg(short, long)]
    tag: Vec<String>,
    /// Stage to build
    #[arg(long)]
    target: Option<String>,
    /// Resource limit of the steps, as name=soft[:hard]
    #[arg(long, value_name = "ulimit", value_parser = ulimit::parse)]
    ulimit: Vec<Ulimit>,
    /// Build a second time without the cache, and fail with what differs
    #[arg(long)]
    verify: bool,
    args: Vec<String>,
    /// The Dockerfile's text, where a bake file has it.
    #[arg(skip)]
    pub inline: Option<String>,
    /// The builds that share a limit with this one.
    #[arg(skip)]
    pub group: String,
    /// The result is for other builds too, and held until all are through.
    #[arg(skip)]
    pub shared: bool,
    /// And for nothing else.
    #[arg(skip)]
    pub lent: bool,
    /// Somebody else writes what is known of the build to a file.
    #[arg(skip)]
    pub told: bool,
}

impl Args {
    /// What a script's variable left empty asks for nothing, as with buildx.
    pub fn without_empty(mut self) -> Args {
        for several in [
            &mut self.annotation,
            &mut self.build_context,
            &mut self.cache_from,
            &mut self.cache_to,
            &mut self.output,
            &mut self.secret,
            &mut self.ssh,
        ] {
            several.retain(|text| !text.is_empty());
        }
        for one in [&mut self.file, &mut self.iidfile, &mut self.metadata_file] {
            one.take_if(|text| text.is_empty());
        }
        self
    }
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let args = args.without_empty();
    let context = args.args[0].clone();
    if let Some(reply) = reply(cli, &args, &context).await? {
        cli.print(&reply.text)?;
        return reply.error.map_or(Ok(reply.code), Err);
    }
    let screen = Screen::new(cli, &args)?;
    let view = View::alone(&screen);
    let built = perform(cli, &args, &context, &view).await;
    screen.finish(args.explain)?;
    built.map(|_| 0).map_err(|error| match view.shown() {
        // Who reads JSON has read the excerpt there, and gets one line beside it.
        Shown::Raw => error.last_line(),
        _ => error,
    })
}

/// The answer to what is asked in place of a build, if something is.
pub async fn reply(cli: &Cli, args: &Args, context: &str) -> Result<Option<Reply>, Error> {
    if let Some(call) = Call::choose(args.call.as_deref(), args.check)? {
        let build_args = args.build_arg.iter().filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => cli.variable(text).map(|value| (text.clone(), value)),
        });
        let secrets = args.secret.iter().map(|spec| secrets::read(cli, spec));
        let agents = Agents::open(cli, &args.ssh)?;
        let asked = Asked {
            source: opened(cli, args, context).await?,
            extras: BuildExtras {
                secrets: secrets.collect::<Result<_, _>>()?,
                ssh: agents.sockets.clone(),
                contexts: options::contexts(cli, args)?,
                ..BuildExtras::default()
            },
            target: args.target.as_deref(),
            build_args: build_args.collect(),
            platform: args.platform.first().map(String::as_str),
        };
        return call.ask(cli, asked).await.map(Some);
    }
    Ok(None)
}

/// Where the files and the Dockerfile come from.
async fn opened(cli: &Cli, args: &Args, context: &str) -> Result<Source, Error> {
    let is_url = |file: &&str| ["http://", "https://"].iter().any(|scheme| file.starts_with(scheme));
    match (&args.inline, args.file.as_deref()) {
        (Some(text), _) => with_text(cli, context, text),
        (None, Some(file)) if is_url(&file) => {
            let options = BuildOptions { remote: file.to_owned(), ..BuildOptions::default() };
            let found = client::builds::definition(cli.client()?, &options).await?;
            with_text(cli, context, &found.text)
        }
        (None, file) => source(cli, context, file),
    }
}

/// What is known of a finished build.
pub struct Finished {
    /// What `--metadata-file` says.
    pub metadata: serde_json::Value,
    /// What holds its result where that is for other builds too.
    pub held: Option<Held>,
}

/// A result that the server holds until it is given back, or this is dropped.
pub struct Held {
    build: String,
    _answer: JsonLines<JsonMessage>,
}

impl Held {
    /// The result is not needed any more: what nobody else keeps is gone then.
    pub async fn give_back(self, cli: &Cli) -> Result<(), Error> {
        Ok(client::builds::give_back(cli.client()?, &self.build).await?)
    }
}

/// Builds, and hands the result out.
pub async fn perform(cli: &Cli, args: &Args, context: &str, view: &View<'_>) -> Result<Finished, Error> {
    options::refuse(cli, args)?;
    let shown = view.shown();
    let outputs = outputs(args)?;
    let (names, told) = (names(args, &outputs, Output::keeps), names(args, &outputs, |_| true));
    let mut options = options::options(cli, args, shown, &outputs)?;
    let keeps = outputs.iter().any(Output::keeps) && !args.lent;
    options.extras.lent = !keeps;
    options.extras.held = args.shared || !keeps || outputs.iter().any(Output::pushes);
    options.tags = if keeps { names.clone() } else { Vec::new() };
    options.extras.export.names.clone_from(&told);
    options.extras.export.registries = output::registries(&outputs, &names).filter(|_| !args.shared);
    let agents = Agents::open(cli, &args.ssh)?;
    options.extras.ssh.clone_from(&agents.sockets);
    if cli.is_foreign().await? {
        foreign::suit(&mut options, &outputs, args.explain)?;
    }
    let source = opened(cli, args, context).await?;
    if let Source::Directory { path, own, .. } = &source {
        let export = &mut options.extras.export;
        let wanted =
            git::Wanted::read(cli, !export.provenance.is_empty() || !export.told_provenance.is_empty());
        let dockerfile = own.clone().unwrap_or_else(|| path.join("Dockerfile"));
        let facts = git::facts(wanted, path, &dockerfile)?;
        export.vcs = facts.vcs;
        options.labels.extend(facts.labels);
    }
    let payload = source.payload(cli, &mut options, args.compress).await?;
    let credentials = credentials::all(cli)?;
    let answer = async { Ok(client::builds::build(cli.client()?, &options, payload, &credentials).await?) };
    deliver::prepare(cli, &outputs)?;
    let is_held = options.extras.held;
    let mut messages = interruptible(answer).await?;
    let result = view.show(cli, &mut messages, is_held).await?;
    drop(agents);
    let result = result.ok_or_else(|| Error::new("server ended the build without an image"))?;
    let build = result.details.as_ref().map(|details| details.id.clone()).filter(|_| is_held);
    let held = build.map(|build| Held { build, _answer: messages });
    // Beside other builds, nothing else may write to the picture.
    let quiet =
        matches!(shown, Shown::Quiet | Shown::None) || view.is_one_of_several() && shown == Shown::Terminal;
    let split = is_split(cli, args);
    let handing = Handing { outputs: &outputs, names: &names, quiet, split };
    let pushed = deliver(cli, &handing, &result).await;
    let held = match held {
        Some(held) if !args.shared || pushed.is_err() => held.give_back(cli).await.map(|()| None),
        held => Ok(held),
    };
    let (pushed, held) = (pushed?, held?);
    let id = metadata::id(&result.id, result.details.as_ref());
    // An archive that goes to standard output is all that goes there.
    if shown == Shown::Quiet && !id.is_empty() && !outputs.iter().any(Output::is_piped) {
        cli.println(&id)?;
    }
    let write = |path: &str, text: &str| {
        cli.write_file(path, text).map_err(|error| Error::file("write", path, &error))
    };
    if let Some(path) = &args.iidfile {
        write(path, &id)?;
    }
    let mut metadata = metadata::document(&result.id, &told, result.details.as_ref(), pushed.as_ref());
    if options::env_flag(cli, "BUILDX_METADATA_WARNINGS") {
        metadata["buildx.build.warnings"] = view.warnings();
    }
    if let Some(path) = &args.metadata_file {
        write(path, &crate::system::inspect::pretty(&metadata)?)?;
    }
    Ok(Finished { metadata, held })
}

/// All outputs; without one the image is kept.
fn outputs(args: &Args) -> Result<Vec<Output>, Error> {
    let mut outputs = args.output.iter().map(|text| Output::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if args.push {
        match outputs.iter_mut().find(|output| output.kind == Kind::Image) {
            Some(image) => image.push = true,
            None => outputs.push(Output::registry()),
        }
    }
    if args.load || outputs.is_empty() {
        outputs.push(Output::store());
    }
    let nameless = |output: &Output| output.push && output.names.is_empty();
    if args.tag.is_empty() && outputs.iter().any(nameless) {
        return Err(Error::new("tag is needed when pushing to registry"));
    }
    Ok(outputs)
}

/// The names of the result: `--tag`, or those of an output.
fn names(args: &Args, outputs: &[Output], counts: impl Fn(&Output) -> bool) -> Vec<String> {
    let mut names = args.tag.clone();
    names.extend(
        outputs.iter().filter(|output| counts(output)).flat_map(|output| output.names.iter().cloned()),
    );
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Whether one platform is to be treated as one of several (`BUILDKIT_MULTI_PLATFORM`); the server refuses what is neither.
fn is_split(cli: &Cli, args: &Args) -> bool {
    let value = |text: &String| match text.split_once('=') {
        Some(("BUILDKIT_MULTI_PLATFORM", value)) => Some(value.to_owned()),
        None if text == "BUILDKIT_MULTI_PLATFORM" => cli.variable(text),
        _ => None,
    };
    let given = args.build_arg.iter().rev().find_map(value);
    given.is_some_and(|text| matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// What is handed out of a build, and how.
struct Handing<'a> {
    outputs: &'a [Output],
    names: &'a [String],
    quiet: bool,
    /// One image's files lie as those of several do.
    split: bool,
}

/// Serves all outputs.
async fn deliver(cli: &Cli, handing: &Handing<'_>, result: &BuildResult) -> Result<Option<Pushed>, Error> {
    let default = BuildDetails::default();
    let details = result.details.as_ref().unwrap_or(&default);
    let Handing { names, quiet, split, .. } = *handing;
    let delivery = Delivery { cli, details, names, quiet, split };
    let mut pushed = None;
    for output in handing.outputs {
        pushed = interruptible(delivery.serve(output)).await?.or(pushed);
    }
    Ok(pushed)
}
