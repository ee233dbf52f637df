use crate::context::Cli;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, _args: Args) -> Outcome {
    cli.println("default")?;
    Ok(0)
}
