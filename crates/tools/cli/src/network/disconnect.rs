use api::networks::DisconnectRequest;

use crate::context::Cli;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Disconnect although the container cannot be reached
    #[arg(short, long)]
    force: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let request = DisconnectRequest { container: args.args[1].clone(), force: args.force };
    client::networks::disconnect(cli.client()?, &args.args[0], &request).await?;
    Ok(0)
}
