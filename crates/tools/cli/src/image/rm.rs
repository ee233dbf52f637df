use api::images::RemoveOptions;

use crate::context::Cli;
use crate::error::{Error, joined};
use crate::options::platform;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Remove although it has several names or a stopped container uses it
    #[arg(short, long)]
    force: bool,
    /// Keep untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Only this platform's image
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let platforms = platform::documents(&args.platform)?;
    let options = RemoveOptions { force: args.force, no_prune: args.no_prune, platforms };
    let mut errors = Vec::new();
    for name in &args.args {
        match client::images::remove(client, name, &options).await {
            Ok(removed) => {
                for item in removed {
                    match item.deleted.is_empty() {
                        true => cli.println(&format!("Untagged: {}", item.untagged))?,
                        false => cli.println(&format!("Deleted: {}", item.deleted))?,
                    }
                }
            }
            Err(error) if args.force && error.is_not_found() => cli.complain(&Error::from(error).message),
            Err(error) => errors.push(Error::from(error)),
        }
    }
    joined(errors).map_or(Ok(0), Err)
}
