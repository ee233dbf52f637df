use crate::context::Cli;
use crate::system::inspect::{Kind, show};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, or "json"
    #[arg(short, long)]
    format: Option<String>,
    /// Show more for diagnosis
    #[arg(short, long)]
    verbose: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let kind = if args.verbose { Kind::NetworkVerbose } else { Kind::Network };
    show(cli, &[kind], &args.args, args.format.as_deref(), false).await
}
