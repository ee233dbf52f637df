//! The targets of a plan, built side by side.

use std::collections::BTreeMap;

use ::bake::{Plan, Target};
use clap::{Command, FromArgMatches as _};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};

use super::Args;
use super::allow::dockerfile;
use crate::build;
use crate::build::run::{Finished, Held};
use crate::build::screen::{Screen, Shown, View};
use crate::build::source::leads_elsewhere;
use crate::context::Cli;
use crate::error::Error;
use crate::system::inspect::pretty;
use crate::verbs::Outcome;

/// What is known of the targets that are built.
#[derive(Default)]
struct Done {
    images: BTreeMap<String, String>,
    metadata: Map<String, Value>,
    /// Results that other targets take files from; those that are nothing else go when all is built.
    shared: Vec<Held>,
}

/// Builds the targets side by side, each once those that it takes files from are there.
pub async fn all(cli: &Cli, args: &Args, plan: &Plan) -> Outcome {
    let asks = |target: &Target| target.text("call").is_some_and(|call| call != "build");
    if plan.targets.values().any(asks) {
        return answers(cli, args, plan).await;
    }
    let shown = Shown::choose(cli, false, args.progress.as_deref())?;
    let screen = Screen::showing(shown);
    let mut done = Done::default();
    let result = build_on(cli, args, plan, &screen, &mut done).await;
    if result.is_err() {
        screen.stop();
    }
    screen.finish(false)?;
    let mut tidied = Ok(());
    for held in done.shared {
        tidied = tidied.and(held.give_back(cli).await);
    }
    // What went wrong first is what is told.
    let code = result?;
    tidied?;
    if let (Some(path), 0) = (&args.metadata_file, code) {
        let text = pretty(&Value::Object(done.metadata))?;
        std::fs::write(cli.host.directory.join(path), text)
            .map_err(|error| Error::file("write", path, &error))?;
    }
    Ok(code)
}

/// What targets answer in place of being built, by name; as JSON all in one document with what would be built, as buildx has it.
async fn answers(cli: &Cli, args: &Args, plan: &Plan) -> Outcome {
    let mut code = 0;
    let json = args.call.as_deref().is_some_and(|call| call.split(',').any(|part| part == "format=json"));
    let mut answers = Map::new();
    let wanted: Vec<_> = plan.targets.iter().filter(|(_, target)| !target.linked).collect();
    for (at, (name, target)) in wanted.iter().enumerate() {
        if !json {
            let description = target.text("description").map(|text| format!("{text}\n")).unwrap_or_default();
            cli.print(&format!("{}{name}\n{description}\n", if at == 0 { "" } else { "\n" }))?;
        }
        let (build, context) = arguments(cli, args, target, None)?;
        let Some(reply) = build::run::reply(cli, &build, &context).await? else { continue };
        code = code.max(if reply.error.is_some() { 1 } else { reply.code });
        if json {
            answers.insert((*name).clone(), value(&reply));
            continue;
        }
        cli.print(&reply.text)?;
        if let Some(error) = reply.error {
            cli.println(&format!("error: {}", error.message.trim_start_matches("ERROR: ")))?;
        }
    }
    if json {
        cli.println(&super::list::json(&joined(plan, answers))?)?;
    }
    Ok(code)
}

/// One answer as a value.
fn value(reply: &build::call::Reply) -> Value {
    let mut told: Value = serde_json::from_str(&reply.text).unwrap_or_else(|_| Value::Object(Map::new()));
    if let Some(error) = &reply.error {
        told["error"] = error.message.trim_start_matches("ERROR: ").into();
    }
    told
}

/// The plan's document with the answers in it.
fn joined(plan: &Plan, mut answers: Map<String, Value>) -> Value {
    let mut document = plan.document();
    for (name, target) in &plan.targets {
        let call = match target.text("call") {
            Some("lint") | None => "check",
            Some(other) => other,
        };
        let mut fields = Map::from_iter([("build".to_owned(), document["target"][name].take())]);
        fields.extend(answers.remove(name).map(|answer| (call.to_owned(), answer)));
        document["target"][name] = fields.into();
    }
    document
}

async fn build_on(cli: &Cli, args: &Args, plan: &Plan, screen: &Screen, done: &mut Done) -> Outcome {
    let group = format!("bake-{}-{}", std::process::id(), jiff::Timestamp::now());
    let mut waiting = plan.order();
    let mut running = FuturesUnordered::new();
    loop {
        let ready = |name: &&str| plan.needs(name).iter().all(|other| done.images.contains_key(other));
        for name in waiting.extract_if(.., |name| ready(name)).collect::<Vec<_>>() {
            let Some(target) = plan.targets.get(name) else { continue };
            let (mut build, context) = arguments(cli, args, target, Some(&done.images))?;
            build.group.clone_from(&group);
            build.shared = plan.lends(name);
            running.push(async move {
                let view = View::of(screen, name);
                let built = build::run::perform(cli, &build, &context, &view).await;
                built
                    .map(|finished| (name, finished))
                    .map_err(|error| Error { message: format!("target {name}: {}", error.message), ..error })
            });
        }
        let Some(finished) = running.next().await else { break };
        let (name, Finished { metadata, held }) = finished?;
        let id = metadata["containerimage.config.digest"].as_str().unwrap_or_default();
        done.images.insert(name.to_owned(), id.to_owned());
        done.shared.extend(held);
        done.metadata.insert(name.to_owned(), metadata);
    }
    Ok(0)
}

/// The command line of `build` that a target stands for, and its context.
/// `images` are those of the targets that were built; none if nothing is built.
fn arguments(
    cli: &Cli,
    args: &Args,
    target: &Target,
    images: Option<&BTreeMap<String, String>>,
) -> Result<(build::run::Args, String), Error> {
    let mut words = vec!["build".to_owned()];
    words.extend(flags(target));
    words.extend(args.jobs.map(|jobs| format!("--jobs={jobs}")));
    let call = args.call.as_deref().filter(|call| *call != "build");
    words.extend(call.or(target.text("call")).map(|call| format!("--call={call}")));
    words.extend(args.progress.as_ref().map(|progress| format!("--progress={progress}")));
    for (name, value) in target.map("contexts") {
        let value = match (value.strip_prefix("target:"), images) {
            (Some(_), None) => continue,
            (Some(other), Some(images)) => match images.get(other) {
                Some(image) if !image.is_empty() => format!("docker-image://{image}"),
                _ => return Err(Error::new(format!("context {name:?}: target {other:?} gave no image"))),
            },
            (None, _) => value.trim_start_matches("cwd://").to_owned(),
        };
        words.push(format!("--build-context={name}={value}"));
    }
    let context = target.text("context").unwrap_or(".").to_owned();
    let inline = target.text("dockerfile-inline").map(str::to_owned);
    if let (None, Some(file)) = (&inline, target.text("dockerfile")) {
        // Bake's Dockerfile is relative to the context, that of build to the working directory.
        let file = match leads_elsewhere(&context, &cli.host.directory) {
            true => file.to_owned(),
            false => dockerfile(&context, file),
        };
        words.push(format!("--file={file}"));
    }
    // A context is none of the flags, whatever it is called.
    words.extend(["--".to_owned(), context.clone()]);
    let command = <build::run::Args as clap::Args>::augment_args(Command::new("build"));
    let parsed =
        command.try_get_matches_from(&words).and_then(|found| build::run::Args::from_arg_matches(&found));
    let mut parsed = parsed.map_err(|error| Error::new(error.to_string()))?.without_empty();
    parsed.inline = inline;
    parsed.lent = target.linked;
    parsed.told = args.metadata_file.is_some();
    Ok((parsed, context))
}

/// The flags of `build` that a target stands for, without its contexts.
fn flags(target: &Target) -> Vec<String> {
    let mut flags = Vec::new();
    for (key, flag) in [
        ("annotations", "annotation"),
        ("tags", "tag"),
        ("ulimits", "ulimit"),
        ("no-cache-filter", "no-cache-filter"),
        ("platforms", "platform"),
        ("entitlements", "allow"),
    ] {
        let named = key == "tags" && target.linked;
        let values = target.strings(key).iter().filter(|_| !named);
        flags.extend(values.map(|value| format!("--{flag}={value}")));
    }
    for (key, flag) in [
        ("attest", "attest"),
        ("policy", "policy"),
        ("cache-from", "cache-from"),
        ("cache-to", "cache-to"),
        ("secret", "secret"),
        ("ssh", "ssh"),
        ("output", "output"),
    ] {
        // What only lends its files goes nowhere.
        let nowhere = key == "output" && target.linked;
        let entries = target.entries(key).iter().filter(|_| !nowhere);
        flags.extend(entries.map(|entry| format!("--{flag}={}", entry.line())));
    }
    for (key, flag) in [("args", "build-arg"), ("labels", "label")] {
        flags.extend(target.map(key).map(|(name, value)| format!("--{flag}={name}={value}")));
    }
    let hosts = target.map("extra-hosts");
    let each = hosts.flat_map(|(name, at)| at.split(',').map(move |at| format!("--add-host={name}:{at}")));
    flags.extend(each);
    for key in ["target", "network", "shm-size"] {
        flags.extend(target.text(key).map(|value| format!("--{key}={value}")));
    }
    for key in ["pull", "no-cache"] {
        flags.extend(target.flag(key).then(|| format!("--{key}")));
    }
    flags.extend(target.resources().iter().map(|limit| match limit.split_once('=') {
        Some((name @ ("memory" | "memory-swap" | "cpu-shares" | "cpu-period" | "cpu-quota"), value)) => {
            format!("--{name}={value}")
        }
        _ => format!("--{limit}"),
    }));
    flags
}
