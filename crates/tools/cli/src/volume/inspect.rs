use crate::context::Cli;
use crate::system::inspect::{Kind, show};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, or "json"
    #[arg(short, long)]
    format: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    show(cli, &[Kind::Volume], &args.args, args.format.as_deref(), false).await
}
