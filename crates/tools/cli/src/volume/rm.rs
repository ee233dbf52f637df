use crate::context::Cli;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Do not mind missing volumes
    #[arg(short, long)]
    force: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    crate::container::each(cli, &args.args, |name| client::volumes::remove(client, name, args.force)).await
}
