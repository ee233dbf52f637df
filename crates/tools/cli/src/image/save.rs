use crate::context::Cli;
use crate::options::platform;
use crate::system::output;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// File to write instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Only these platforms' images
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let target = output::Target::open(cli, args.output.as_deref(), output::PRIVATE, ("save", "image"))?;
    let platforms = platform::documents(&args.platform)?;
    let tar = client::images::save(cli.client()?, &args.args, &platforms).await?;
    target.fill(tar).await
}
