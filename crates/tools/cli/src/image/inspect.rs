use crate::context::Cli;
use crate::error::Error;
use crate::system::inspect::{Kind, show};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, or "json"
    #[arg(short, long)]
    format: Option<String>,
    /// Not supported: the image of this machine's platform is shown
    #[arg(long, hide = true)]
    platform: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.platform.is_some() {
        return Err(Error::new("--platform is not supported by inspect"));
    }
    show(cli, &[Kind::Image], &args.args, args.format.as_deref(), false).await
}
