use crate::context::Cli;
use crate::error::{Error, joined};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Do not mind missing networks
    #[arg(short, long)]
    force: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let mut errors = Vec::new();
    for name in &args.args {
        match client::networks::remove(client, name).await {
            Ok(()) => cli.println(name)?,
            Err(error) if args.force && error.is_not_found() => {}
            Err(error) => errors.push(Error::from(error)),
        }
    }
    joined(errors).map_or(Ok(0), Err)
}
