use crate::context::Cli;
use crate::options::platform;
use crate::system::inspect::{Kind, show};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, or "json"
    #[arg(short, long)]
    format: Option<String>,
    /// Of an image for several platforms, this one's
    #[arg(long)]
    platform: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let kind = Kind::Image { platform: platform::document(args.platform.as_deref())? };
    show(cli, &[kind], &args.args, args.format.as_deref(), false).await
}
