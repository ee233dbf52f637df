//! `dhow bake`: builds as files describe them, in HCL, JSON or compose.

mod compose;
mod evaluate;
mod functions;
mod plan;
mod target;

use std::collections::BTreeMap;

use clap::{Command, FromArgMatches as _};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value, json};

use crate::build;
use crate::build::screen::{Screen, Shown, View};
use crate::context::Cli;
use crate::error::Error;
use crate::system::inspect::pretty;
use crate::verbs::Outcome;
use plan::Plan;
use target::Target;

#[derive(clap::Args)]
pub struct Args {
    /// Allow what is off otherwise: network.host or security.insecure
    #[arg(long, value_delimiter = ',')]
    allow: Vec<String>,
    /// Builder to use; there is one, "default"
    #[arg(long)]
    builder: Option<String>,
    /// What to do instead of building, as for build
    #[arg(long)]
    call: Option<String>,
    /// The same as --call=check
    #[arg(long)]
    check: bool,
    /// File to read; may be repeated
    #[arg(short, long)]
    file: Vec<String>,
    /// Run so many steps of all targets at once at most
    #[arg(long, value_name = "int")]
    jobs: Option<u32>,
    /// List "targets" or "variables" and do nothing
    #[arg(long)]
    list: Option<String>,
    /// Keep the results as images
    #[arg(long)]
    load: bool,
    /// Write what became of the targets to this file
    #[arg(long)]
    metadata_file: Option<String>,
    /// Take nothing from the cache
    #[arg(long)]
    no_cache: bool,
    /// Print what would be built
    #[arg(long)]
    print: bool,
    /// Kind of progress: "auto", "plain", "tty", "quiet" or "rawjson"
    #[arg(long)]
    progress: Option<String>,
    /// Attach how the images were made
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// Look for newer base images
    #[arg(long)]
    pull: bool,
    /// Send the results to their registries
    #[arg(long)]
    push: bool,
    /// Attach the list of packages in the images
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    /// Override a field, as target.key=value
    #[arg(long)]
    set: Vec<String>,
    /// Set a variable of the file, as name=value
    #[arg(long)]
    var: Vec<String>,
    args: Vec<String>,
}

/// Files that are read if none is named; those that exist, all of them.
const FILES: &[&str] = &[
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let variables: BTreeMap<&str, &str> = args.var.iter().filter_map(|text| text.split_once('=')).collect();
    let environment =
        |name: &str| variables.get(name).map(|value| (*value).to_owned()).or_else(|| cli.variable(name));
    let source = read(cli, &args.file, &environment)?;
    if let Some(what) = &args.list {
        return list(cli, &source, what, &environment);
    }
    let wanted = if args.args.is_empty() { vec!["default".to_owned()] } else { args.args.clone() };
    let mut plan = Plan::make(source.blocks(&environment)?, &wanted)?;
    plan.apply(&overrides(&args))?;
    if args.print {
        return cli.println(&pretty(&plan.document())?).map(|()| 0);
    }
    build_all(cli, &args, &plan).await
}

/// Reads all files.
fn read(
    cli: &Cli,
    files: &[String],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<evaluate::Source, Error> {
    let directory = &cli.host.directory;
    let found: Vec<String> = match files {
        [] => {
            FILES.iter().filter(|name| directory.join(name).exists()).map(|name| (*name).to_owned()).collect()
        }
        named => named.to_vec(),
    };
    if found.is_empty() {
        return Err(Error::new(format!(
            "couldn't find a bake definition: there is none of {}",
            FILES.join(", ")
        )));
    }
    let mut source = evaluate::Source::default();
    for name in &found {
        let bytes = match name.as_str() {
            "-" => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)?;
                bytes
            }
            path => cli.read(path)?,
        };
        let text =
            String::from_utf8(bytes).map_err(|_| Error::new(format!("{name}: it is not UTF-8 text")))?;
        let lower = name.to_lowercase();
        match lower.rsplit('.').next() {
            Some("yml" | "yaml") => compose::read(&mut source, name, &text, environment)?,
            Some("json") => source.json(name, &text)?,
            Some("hcl") => source.hcl(name, &text)?,
            _ if text.trim_start().starts_with('{') => source.json(name, &text)?,
            _ => source.hcl(name, &text)?,
        }
    }
    Ok(source)
}

/// `--set` and the flags that mean the same for all targets.
fn overrides(args: &Args) -> Vec<String> {
    let mut all = args.set.clone();
    let flags = [
        (args.push, "push=true"),
        (args.load, "load=true"),
        (args.no_cache, "no-cache=true"),
        (args.pull, "pull=true"),
    ];
    all.extend(flags.iter().filter(|(on, _)| *on).map(|(_, text)| format!("*.{text}")));
    let call = args.call.clone().or_else(|| args.check.then(|| "check".to_owned()));
    all.extend(call.map(|call| format!("*.call={call}")));
    all
}

fn list(
    cli: &Cli,
    source: &evaluate::Source,
    what: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Outcome {
    let (what, json) = match what.split_once(',') {
        Some((what, format)) => (what, format == "format=json"),
        None => (what, false),
    };
    let what = what.trim_start_matches("type=");
    let rows: Vec<Value> = match what {
        "targets" => Plan::every(source.blocks(environment)?)?
            .into_iter()
            .map(|(name, description, group)| json!({ "name": name, "description": description, "group": group }))
            .collect(),
        "variables" => source
            .listed(environment)?
            .into_iter()
            .map(|(variable, value)| json!({ "name": variable.name, "value": value, "description": variable.description }))
            .collect(),
        other => return Err(Error::new(format!("invalid list type {}", template::quote(other)))),
    };
    if json {
        return cli.println(&pretty(&Value::from(rows))?).map(|()| 0);
    }
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let second = if what == "targets" { "description" } else { "value" };
    let width = rows.iter().map(|row| word(&row["name"]).len()).max().unwrap_or(0).max(8);
    cli.println(&format!("{:width$}  {}", what.trim_end_matches('s').to_uppercase(), second.to_uppercase()))?;
    for row in &rows {
        let shown = format!("{:width$}  {}", word(&row["name"]), word(&row[second]));
        cli.println(shown.trim_end())?;
    }
    Ok(0)
}

/// What is known of the targets that are built.
#[derive(Default)]
struct Done {
    images: BTreeMap<String, String>,
    metadata: Map<String, Value>,
    /// Images that only other targets take files from; they go when all is built.
    lent: Vec<String>,
}

/// Builds the targets side by side, each once those that it takes files from are there.
async fn build_all(cli: &Cli, args: &Args, plan: &Plan) -> Outcome {
    let shown = Shown::choose(cli, false, args.progress.as_deref())?;
    let screen = Screen::showing(shown);
    let mut done = Done::default();
    let result = build_on(cli, args, plan, &screen, &mut done).await;
    if result.is_err() {
        screen.stop();
    }
    screen.finish(false)?;
    let code = result?;
    if !done.lent.is_empty() {
        client::images::discard(cli.client()?, &done.lent).await?;
    }
    if let (Some(path), 0) = (&args.metadata_file, code) {
        let text = pretty(&Value::Object(done.metadata))?;
        std::fs::write(cli.host.directory.join(path), text)
            .map_err(|error| Error::file("write", path, &error))?;
    }
    Ok(code)
}

async fn build_on(cli: &Cli, args: &Args, plan: &Plan, screen: &Screen, done: &mut Done) -> Outcome {
    let group = format!("bake-{}-{}", std::process::id(), jiff::Timestamp::now());
    let mut waiting = plan.order()?;
    let mut running = FuturesUnordered::new();
    loop {
        let ready = |name: &&str| plan.needs(name).iter().all(|other| done.images.contains_key(other));
        for name in waiting.extract_if(.., |name| ready(name)).collect::<Vec<_>>() {
            let Some(target) = plan.targets.get(name) else { continue };
            let lends = plan.lends(name) && target.contains_key("output");
            let (mut build, context) = arguments(cli, args, target, &done.images, lends)?;
            build.group.clone_from(&group);
            if let Some(code) = build::run::answer(cli, &build, &context).await? {
                if code != 0 {
                    return Ok(code);
                }
                done.images.insert(name.to_owned(), String::new());
                continue;
            }
            running.push(async move {
                let view = View::of(screen, name);
                let built = build::run::perform(cli, &build, &context, &view).await;
                built
                    .map(|finished| (name, lends, finished.metadata))
                    .map_err(|error| Error { message: format!("target {name}: {}", error.message), ..error })
            });
        }
        let Some(finished) = running.next().await else { break };
        let (name, lends, metadata) = finished?;
        let id = metadata["containerimage.config.digest"].as_str().unwrap_or_default();
        done.images.insert(name.to_owned(), id.to_owned());
        let manifest = metadata["containerimage.digest"].as_str();
        done.lent.extend(manifest.filter(|_| lends).map(str::to_owned));
        done.metadata.insert(name.to_owned(), metadata);
    }
    Ok(0)
}

/// The command line of `build` that a target stands for, and its context.
fn arguments(
    cli: &Cli,
    args: &Args,
    target: &Target,
    images: &BTreeMap<String, String>,
    keep: bool,
) -> Result<(build::run::Args, String), Error> {
    let mut words = vec!["build".to_owned()];
    words.extend(target::flags(target));
    words.extend(keep.then(|| "--load".to_owned()));
    words.extend(args.jobs.map(|jobs| format!("--jobs={jobs}")));
    words.extend(args.allow.iter().map(|allowed| format!("--allow={allowed}")));
    let more = [
        ("builder", &args.builder),
        ("progress", &args.progress),
        ("provenance", &args.provenance),
        ("sbom", &args.sbom),
    ];
    words.extend(more.iter().filter_map(|(flag, value)| Some(format!("--{flag}={}", value.as_deref()?))));
    let contexts = target.get("contexts").and_then(Value::as_object);
    for (name, value) in contexts.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let value = match value.strip_prefix("target:") {
            Some(other) => match images.get(other) {
                Some(image) if !image.is_empty() => format!("docker-image://{image}"),
                _ => return Err(Error::new(format!("context {name:?}: target {other:?} gave no image"))),
            },
            None => value.to_owned(),
        };
        words.push(format!("--build-context={name}={value}"));
    }
    let text = |key: &str| target.get(key).and_then(Value::as_str);
    let context = text("context").unwrap_or(".").trim_start_matches("cwd://");
    let context = if context.is_empty() { "." } else { context };
    let inline = text("dockerfile-inline").map(str::to_owned);
    if inline.is_none()
        && let Some(file) = text("dockerfile")
    {
        // Bake's Dockerfile is relative to the context, that of build to the working directory.
        let own = std::path::Path::new(context).join(file);
        let is_here = cli.host.directory.join(context).is_dir();
        words.push(format!("--file={}", if is_here { own.display().to_string() } else { file.to_owned() }));
    }
    words.push(context.to_owned());
    let command = <build::run::Args as clap::Args>::augment_args(Command::new("build"));
    let parsed =
        command.try_get_matches_from(&words).and_then(|found| build::run::Args::from_arg_matches(&found));
    let mut parsed = parsed.map_err(|error| Error::new(error.to_string()))?;
    parsed.inline = inline;
    Ok((parsed, context.to_owned()))
}
