use client::Payload;

use crate::context::Cli;
use crate::error::Error;
use crate::options::platform;
use crate::progress::messages;
use crate::stream::channel;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// File, or directory with an OCI layout, to read instead of standard input
    #[arg(short, long)]
    input: Option<String>,
    /// Only these platforms' images
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

/// What a directory has one of if it is an unpacked archive: another may be all of a disk.
const DOCUMENTS: [&str; 2] = ["index.json", "manifest.json"];

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let payload = match args.input.as_deref() {
        Some(path) => {
            let full = cli.host.directory.join(path);
            let is_directory = full.is_dir();
            if is_directory && !DOCUMENTS.iter().any(|name| full.join(name).is_file()) {
                let problem = format!("read {path}: is a directory without an {}", DOCUMENTS.join(" or a "));
                return Err(Error::new(problem));
            }
            let opened = if is_directory { channel::directory(full) } else { channel::file(&full) };
            opened.map_err(|error| Error::file("open", path, &error))?
        }
        None if cli.stdin_is_terminal() => {
            return Err(Error::new("requested load from stdin, but stdin is empty"));
        }
        None => Payload::reader(tokio::io::stdin()),
    };
    let quiet = args.quiet || !cli.stdout_is_terminal();
    let platforms = platform::documents(&args.platform)?;
    let progress = client::images::load(cli.client()?, payload, quiet, &platforms).await?;
    messages::show(progress, &mut std::io::stdout(), cli.stdout_is_terminal(), |_| {}).await?;
    Ok(0)
}
