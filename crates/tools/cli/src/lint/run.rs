use std::collections::BTreeMap;
use std::io::Read as _;

use lint::config::{self, Override, Partial};
use lint::format::{Format, Show};
use lint::{Checked, Settings, Severity};

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

/// What is checked when nothing is named.
const DEFAULT: &str = "Dockerfile";
/// The name of standard input.
const STDIN: &str = "-";

#[derive(clap::Args)]
pub struct Args {
    /// Also tell what a build would warn of
    #[arg(long)]
    build_checks: bool,
    /// Settings file, in place of .hadolint.yaml here or in the home directory
    #[arg(short, long, value_name = "file")]
    config: Option<String>,
    /// Take no notice of comments that silence rules
    #[arg(long)]
    disable_ignore_pragma: bool,
    /// Make a rule an error
    #[arg(long, value_name = "rule")]
    error: Vec<String>,
    /// Exit with 1 for findings of this severity or worse: "error", "warning", "info" (unless told), "style" or "none"
    #[arg(short = 't', long, value_name = "severity")]
    failure_threshold: Option<String>,
    /// Path that reports have for the file
    #[arg(long, value_name = "path")]
    file_path_in_report: Option<String>,
    /// Format: "tty", "json", "checkstyle", "codeclimate", "gitlab_codeclimate", "gnu", "codacy", "sonarqube", "sarif"
    /// or "junit"
    #[arg(short, long)]
    format: Vec<String>,
    /// Silence a rule
    #[arg(long, value_name = "rule")]
    ignore: Vec<String>,
    /// Make a rule an information
    #[arg(long, value_name = "rule")]
    info: Vec<String>,
    /// Use no colours
    #[arg(long)]
    no_color: bool,
    /// Exit with 0 whatever is found
    #[arg(long)]
    no_fail: bool,
    /// File to write to; one for each format
    #[arg(short, long, value_name = "file")]
    output: Vec<String>,
    /// A label that images must have, as name:type with "text", "url", "semver", "hash", "rfc3339", "spdx" or "email"
    #[arg(long, value_name = "label")]
    require_label: Vec<String>,
    /// Allow no labels but those required
    #[arg(long)]
    strict_labels: bool,
    /// Make a rule a matter of style
    #[arg(long, value_name = "rule")]
    style: Vec<String>,
    /// A registry that images may come from; * at the beginning or the end stands for anything
    #[arg(long, value_name = "registry")]
    trusted_registry: Vec<String>,
    /// Say which settings file is used
    #[arg(short = 'V', long)]
    verbose: bool,
    /// Make a rule a warning
    #[arg(long, value_name = "rule")]
    warning: Vec<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let settings = settings(cli, &args)?;
    let mut files = args.args.clone();
    if files.is_empty() {
        files.push(DEFAULT.to_owned());
    }
    let mut results = Vec::with_capacity(files.len());
    for file in &files {
        results.push(lint::lint(file, &read(cli, file)?, &settings));
    }
    write(cli, &args, &settings, &results)?;
    let spares = settings.no_fail || settings.formats.iter().any(|format| format.always_succeeds());
    let fails = results.iter().any(|checked| checked.fails(settings.failure_threshold));
    Ok(u8::from(fails && !spares))
}

fn read(cli: &Cli, file: &str) -> Result<Vec<u8>, Error> {
    if file != STDIN {
        return cli.read_definition(file);
    }
    let mut text = Vec::new();
    std::io::stdin().take(dockerfile::MAX_SIZE as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Variables first, then the settings file, then flags.
fn settings(cli: &Cli, args: &Args) -> Result<Settings, Error> {
    let failed = |error: config::Error| Error::new(error.to_string());
    let variables = Partial::from_variables(|name| cli.variable(name)).map_err(failed)?;
    let file = match settings_file(cli, args) {
        Some(path) => {
            if args.verbose {
                cli.complain(&format!("Configuration file used: {path}"));
            }
            Partial::read(&path, &cli.read_definition(&path)?).map_err(failed)?
        }
        None => Partial::default(),
    };
    Ok(Settings::merged([variables, file, flags(args)?]))
}

fn settings_file(cli: &Cli, args: &Args) -> Option<String> {
    if args.config.is_some() {
        return args.config.clone();
    }
    let home = cli.variable("HOME").filter(|home| !home.is_empty());
    let config_home = cli.variable("XDG_CONFIG_HOME").filter(|path| !path.is_empty());
    let config_home =
        config_home.unwrap_or_else(|| format!("{}/.config", home.as_deref().unwrap_or_default()));
    let directory = cli.host.directory.display().to_string();
    let places = config::places(&directory, &config_home, home.as_deref());
    places.into_iter().find(|path| std::path::Path::new(path).is_file())
}

fn flags(args: &Args) -> Result<Partial, Error> {
    let failed = |error: config::Error| Error::new(error.to_string());
    let labels = args.require_label.iter().map(|spec| config::label(spec).map_err(failed));
    let formats = args.format.iter().map(|word| word.parse::<Format>().map_err(failed));
    let threshold = args.failure_threshold.as_ref().map(|word| word.parse::<Severity>().map_err(Error::new));
    let on = |flag: bool| flag.then_some(true);
    Ok(Partial {
        no_fail: on(args.no_fail),
        no_color: on(args.no_color),
        formats: formats.collect::<Result<_, _>>()?,
        severities: Override {
            error: args.error.clone(),
            warning: args.warning.clone(),
            info: args.info.clone(),
            style: args.style.clone(),
        },
        ignored: args.ignore.clone(),
        trusted_registries: args.trusted_registry.clone(),
        label_schema: labels.collect::<Result<BTreeMap<_, _>, _>>()?,
        strict_labels: on(args.strict_labels),
        disable_ignore_pragma: on(args.disable_ignore_pragma),
        failure_threshold: threshold.transpose()?,
        build_checks: on(args.build_checks),
        ..Partial::default()
    })
}

/// One report for each format and file; a format without a file goes to standard output, a file without a format gets
/// lines for people.
fn write(cli: &Cli, args: &Args, settings: &Settings, results: &[Checked]) -> Result<(), Error> {
    let count = settings.formats.len().max(args.output.len()).max(1);
    for index in 0..count {
        let format = settings.formats.get(index).copied().unwrap_or(Format::Tty);
        let output = args.output.get(index).map_or(STDIN, String::as_str);
        let to_terminal = output == STDIN && cli.stdout_is_terminal();
        let show = Show {
            colors: to_terminal && !settings.no_color,
            path: args.file_path_in_report.as_deref(),
            version: cli.host.version,
        };
        let report = format.render(results, show);
        match output {
            STDIN => cli.print(&report)?,
            path => cli.write_file(path, &report).map_err(|error| Error::file("write", path, &error))?,
        }
    }
    Ok(())
}
