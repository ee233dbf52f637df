use crate::context::Cli;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Signal to send, by name or number
    #[arg(short, long)]
    signal: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let signal = args.signal.unwrap_or_default();
    super::each(cli, &args.args, |name| client::containers::kill(client, name, &signal)).await
}
