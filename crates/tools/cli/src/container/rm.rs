use api::containers::RemoveOptions;

use crate::context::Cli;
use crate::error::{Error, joined};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Kill running containers first, and do not mind missing ones
    #[arg(short, long)]
    force: bool,
    /// Remove a link between containers
    #[arg(short, long)]
    link: bool,
    /// Remove the containers' anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let options = RemoveOptions { force: args.force, volumes: args.volumes, link: args.link };
    let names: Vec<&str> = args.args.iter().map(|name| name.trim_matches('/')).collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err(Error::new("container name cannot be empty"));
    }
    let removals = names.iter().map(|name| client::containers::remove(client, name, &options));
    let mut errors = Vec::new();
    for (name, result) in names.iter().zip(futures_util::future::join_all(removals).await) {
        match result {
            Ok(()) => cli.println(name)?,
            // With --force the wish is that it is gone; it is.
            Err(error) if args.force && error.is_not_found() => cli.complain(&Error::from(error).message),
            Err(error) => errors.push(Error::from(error)),
        }
    }
    joined(errors).map_or(Ok(0), Err)
}
