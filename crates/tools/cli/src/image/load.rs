use client::Payload;

use crate::context::Cli;
use crate::error::Error;
use crate::progress::messages;
use crate::stream::channel;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// File to read instead of standard input
    #[arg(short, long)]
    input: Option<String>,
    /// Only this platform's images
    #[arg(long)]
    platform: Option<String>,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let payload = match args.input.as_deref() {
        Some(path) => channel::file(&cli.host.directory.join(path))
            .map_err(|error| Error::file("open", path, &error))?,
        None if cli.stdin_is_terminal() => {
            return Err(Error::new("requested load from stdin, but stdin is empty"));
        }
        None => Payload::reader(tokio::io::stdin()),
    };
    let quiet = args.quiet || !cli.stdout_is_terminal();
    let platform = args.platform.unwrap_or_default();
    let progress = client::images::load(cli.client()?, payload, quiet, &platform).await?;
    messages::show(progress, &mut std::io::stdout(), cli.stdout_is_terminal(), |_| {}).await?;
    Ok(0)
}
