//! `dhow bake`: builds as files describe them, in HCL, JSON or compose.

mod allow;
mod build;
mod files;
mod list;

pub(crate) use allow::real;

use std::collections::BTreeMap;

use ::bake::compose::service_attestation;
use ::bake::shape::Content;
use ::bake::{Config, Definitions, Plan, Surroundings};

use crate::build::source::is_remote;
use crate::buildx::Plugin;
use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;
use files::{Definition, Remote};

#[derive(clap::Args)]
pub struct Args {
    /// Allow what a file asks for: network.host, security.insecure, device, ssh, fs, fs.read or fs.write=path
    #[arg(long)]
    allow: Vec<String>,
    #[command(flatten)]
    plugin: Plugin,
    /// Ask in place of building: "check", "outline" or "targets"
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
    /// The same as --list=targets
    #[arg(long, hide = true)]
    list_targets: bool,
    /// The same as --list=variables
    #[arg(long, hide = true)]
    list_variables: bool,
    /// Keep the results as images
    #[arg(long)]
    load: bool,
    /// Write what became of the targets to this file
    #[arg(long)]
    metadata_file: Option<String>,
    /// Take nothing from the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_cache: Option<bool>,
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
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pull: Option<bool>,
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

/// What the command line names besides options.
struct Named {
    /// Where the definition lies, if not here.
    url: Option<String>,
    /// What a remote definition calls the working directory.
    command: String,
    targets: Vec<String>,
}

impl Named {
    fn read(words: &[String]) -> Named {
        let mut words = words.iter().peekable();
        let url = words.next_if(|word| is_remote(word)).cloned();
        let command = words.next_if(|word| url.is_some() && is_remote(word)).cloned();
        let mut targets: Vec<String> = words.cloned().collect();
        if targets.is_empty() {
            targets.push("default".to_owned());
        }
        Named { url, command: command.unwrap_or_else(|| "cwd://".to_owned()), targets }
    }
}

/// What is to be done.
enum Asked {
    Done,
    Build(Plan),
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let told = |error: Error| match error.message.contains("ERROR: ") {
        false if !error.message.is_empty() => Error { message: format!("ERROR: {}", error.message), ..error },
        _ => error,
    };
    match ask(cli, &args).await.map_err(told)? {
        Asked::Done => Ok(0),
        Asked::Build(plan) => build::all(cli, &args, &plan).await,
    }
}

/// Reads all files, and prints what of them is asked for.
async fn ask(cli: &Cli, args: &Args) -> Result<Asked, Error> {
    args.plugin.check(cli)?;
    let listed = args.list.clone().or_else(|| {
        let short = args.list_targets.then(|| "targets".to_owned());
        short.or_else(|| args.list_variables.then(|| "variables".to_owned()))
    });
    if args.print && listed.is_some() {
        return Err(Error::new("--print and --list are mutually exclusive"));
    }
    let allowed = allow::Allowed::read(&args.allow).map_err(Error::new)?;
    let named = Named::read(&args.args);
    let variables = variables(&args.var)?;
    let environment = |name: &str| match reads_environment(cli) {
        true => cli.variable(name),
        false => None,
    };
    let lookup = |name: &str| variables.get(name).cloned().or_else(|| environment(name));
    let definition = files::read(cli, &args.file, named.url.as_deref(), &lookup).await?;
    let (config, known) = parse(cli, &definition, &named.command, &lookup)?;
    if let Some(what) = listed {
        return list::print(cli, &what, &config, known).map(|()| Asked::Done);
    }
    let targets = config.targets.iter().map(|target| target.name.clone());
    let known: Vec<String> = targets.chain(config.groups.iter().map(|group| group.name.clone())).collect();
    let plan = config.plan(&named.targets, &overrides(args), &environment);
    let mut plan = plan.map_err(|error| unplanned(error, &known))?;
    settle(cli, &mut plan, definition.remote.as_ref())?;
    if args.print {
        return cli.println(&list::json(&plan.document())?).map(|()| Asked::Done);
    }
    allow::check(cli, &plan, allowed, args, definition.remote.is_some())?;
    Ok(Asked::Build(plan))
}

/// Why nothing is planned, with the target that may have been meant.
fn unplanned(error: String, known: &[String]) -> Error {
    let missing = error.strip_prefix("failed to find target ");
    let near = missing.and_then(|name| dockerfile::likely(name, known.iter().map(String::as_str)));
    match near {
        Some(near) => Error::new(format!("{error} (did you mean {near}?)")),
        None => Error::new(error),
    }
}

/// Whether variables may come from the environment.
fn reads_environment(cli: &Cli) -> bool {
    let off = cli.variable("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP");
    off.and_then(|text| ::bake::entry::truth(&text)) != Some(true)
}

fn variables(given: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let quoted = |text: &String| template::quote(text);
    let one = |text: &String| match text.split_once('=') {
        None => Err(Error::new(format!("invalid variable {}, expected key=value", quoted(text)))),
        Some(("", _)) => Err(Error::new(format!("invalid variable {}, key is empty", quoted(text)))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
    };
    given.iter().filter(|text| !text.is_empty()).map(one).collect()
}

/// All files as one configuration, and its variables.
fn parse(
    cli: &Cli,
    definition: &Definition,
    command: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<::bake::Listed>), Error> {
    let mut config = definition.services(cli, lookup)?;
    let builtin = BTreeMap::from([
        ("BAKE_CMD_CONTEXT".to_owned(), command.to_owned()),
        ("BAKE_LOCAL_PLATFORM".to_owned(), oci::Platform::host().to_string()),
    ]);
    let sources = &definition.sources;
    let told = |wrong: ::bake::Diagnostics| {
        let report = wrong.report(sources);
        // The last line says what is wrong.
        let (before, last) = report.rsplit_once("--------------------\n").unwrap_or(("", &report));
        let rule = if before.is_empty() { "" } else { "--------------------\n" };
        Error::new(format!("{before}{rule}ERROR: {last}"))
    };
    let mut definitions = Definitions::default();
    for at in definition.native() {
        let body = ::bake::language::parse(at, &sources[at]).map_err(told)?;
        definitions.add(body, &builtin).map_err(told)?;
    }
    let home = cli.variable("HOME").unwrap_or_else(|| "/".to_owned());
    let around = Surroundings { lookup, builtin, home, sources };
    let known = config.define(&definitions, &around).map_err(told)?;
    for (place, what) in &config.unknown {
        let at = ::bake::language::position(place, sources);
        cli.complain(&format!("WARNING: {at}: {what} is no argument of bake and has no effect"));
    }
    Ok((config, known))
}

/// `--set` and the flags that mean the same for all targets.
fn overrides(args: &Args) -> Vec<String> {
    let mut all = args.set.clone();
    let flag = |on: Option<bool>, name: &str| on.map(|on| format!("*.{name}={on}"));
    all.extend(args.push.then(|| "*.push=true".to_owned()));
    all.extend(args.load.then(|| "*.load=true".to_owned()));
    let call = args.call.clone().or_else(|| args.check.then(|| "check".to_owned()));
    let call = call.as_deref().and_then(|call| call.split(',').next()).filter(|call| *call != "build");
    all.extend(call.map(|call| format!("*.call={}", if call == "check" { "lint" } else { call })));
    all.extend(flag(args.no_cache, "no-cache"));
    all.extend(flag(args.pull, "pull"));
    let attest = |kind: &str, text: &Option<String>| {
        let line = service_attestation(kind, text.as_deref().unwrap_or_default());
        line.map(|line| format!("*.attest={line}"))
    };
    all.extend(attest("sbom", &args.sbom));
    all.extend(attest("provenance", &args.provenance));
    all
}

/// What surrounds the targets: where their contexts are, and the time that results get.
fn settle(cli: &Cli, plan: &mut Plan, remote: Option<&Remote>) -> Result<(), Error> {
    let epoch = cli.variable("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty());
    for target in plan.targets.values_mut() {
        let is_stdin = |field: &str| target.text(field) == Some("-");
        if is_stdin("context") || is_stdin("dockerfile") {
            let what = if is_stdin("context") { "context" } else { "dockerfile" };
            return Err(Error::new(format!("{what} from stdin not allowed in bake")));
        }
        if let Some(epoch) =
            epoch.as_ref().filter(|_| target.map("args").all(|(name, _)| name != "SOURCE_DATE_EPOCH"))
        {
            let mut args: BTreeMap<String, String> =
                target.map("args").map(|(name, value)| (name.clone(), value.clone())).collect();
            args.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.clone());
            target.set("args", Content::Map(args));
        }
        let context = files::context(target.text("context").unwrap_or("."), remote).map_err(Error::new)?;
        target.set("context", Content::Text(context));
    }
    Ok(())
}
