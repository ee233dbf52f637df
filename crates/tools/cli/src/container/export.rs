use crate::context::Cli;
use crate::system::output;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// File to write instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let target = output::Target::open(cli, args.output.as_deref(), output::PRIVATE, ("export", "container"))?;
    let tar = client::containers::export(cli.client()?, &args.args[0]).await?;
    target.fill(tar).await
}
