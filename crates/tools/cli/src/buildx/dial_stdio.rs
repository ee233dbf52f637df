use crate::context::Cli;
use crate::system;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    plugin: super::Plugin,
    /// Accepted: the one builder builds for all platforms
    #[arg(long, hide = true)]
    platform: Option<String>,
    /// Accepted: there is none to show
    #[arg(long, hide = true)]
    progress: Option<String>,
    args: Vec<String>,
}

/// Joins standard input and output with the server's BuildKit.
pub async fn run(cli: &Cli, args: Args) -> Outcome {
    args.plugin.check(cli)?;
    system::dial_stdio::join(client::builds::grpc(cli.client()?).await?).await
}
