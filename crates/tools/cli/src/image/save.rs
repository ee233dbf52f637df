use crate::context::Cli;
use crate::system::output;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// File to write instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Only this platform's images
    #[arg(long)]
    platform: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let target = output::Target::open(cli, args.output.as_deref(), "save", "image")?;
    let tar = client::images::save(cli.client()?, &args.args, &args.platform.unwrap_or_default()).await?;
    target.fill(tar).await
}
