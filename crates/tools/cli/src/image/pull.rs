use api::images::PullOptions;
use oci::Reference;

use crate::context::Cli;
use crate::error::Error;
use crate::progress::messages;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Also what is attached to the image: signatures, lists of packages
    #[arg(long)]
    attached: bool,
    /// Accepted for old scripts; images are not signed
    #[arg(long, default_value_t = true, hide = true)]
    disable_content_trust: bool,
    /// Platform of the image, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    /// Print only the name
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let name = Reference::parse_name(&args.args[0]).map_err(|error| Error::new(error.to_string()))?;
    if args.all_tags && !name.is_name_only() {
        return Err(Error::new("tag can't be used with --all-tags/-a"));
    }
    let reference = Reference::parse(&args.args[0]).map_err(|error| Error::new(error.to_string()))?;
    if name.is_name_only() && !args.quiet && !args.all_tags {
        cli.println("Using default tag: latest")?;
    }
    let platform = args.platform.or_else(|| cli.variable("DOCKER_DEFAULT_PLATFORM")).unwrap_or_default();
    let full = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => format!("{}@{digest}", reference.name()),
        (None, tag) => format!("{}:{}", reference.name(), tag.as_deref().unwrap_or("latest")),
    };
    if args.all_tags {
        let options = PullOptions {
            from_image: name.familiar_name(),
            platform,
            attached: args.attached,
            ..PullOptions::default()
        };
        show(cli, &options, &name, args.quiet, false).await?;
        cli.println(&name.name())?;
        return Ok(0);
    }
    let options = PullOptions { attached: args.attached, ..one(&reference, platform) };
    show(cli, &options, &reference, args.quiet, false).await?;
    cli.println(&full)?;
    Ok(0)
}

fn one(reference: &Reference, platform: String) -> PullOptions {
    let tag = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.clone().unwrap_or_default(),
    };
    PullOptions { from_image: reference.familiar_name(), tag, platform, ..PullOptions::default() }
}

/// Pulls and shows the progress, on standard error when the output is somebody else's.
pub async fn fetch(
    cli: &Cli,
    reference: Reference,
    platform: String,
    quiet: bool,
    to_stderr: bool,
) -> Result<(), Error> {
    let options = one(&reference, platform);
    show(cli, &options, &reference, quiet, to_stderr).await
}

async fn show(
    cli: &Cli,
    options: &PullOptions,
    reference: &Reference,
    quiet: bool,
    to_stderr: bool,
) -> Result<(), Error> {
    let auth = credentials::lookup(cli, &reference.domain)?;
    let progress = client::images::pull(cli.client()?, options, auth.as_ref()).await?;
    match (quiet, to_stderr) {
        (true, _) => messages::show(progress, &mut std::io::sink(), false, |_| {}).await,
        (false, true) => {
            messages::show(progress, &mut std::io::stderr(), cli.stderr_is_terminal(), |_| {}).await
        }
        (false, false) => {
            messages::show(progress, &mut std::io::stdout(), cli.stdout_is_terminal(), |_| {}).await
        }
    }
}
