use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (old, new) = (args.args[0].trim(), args.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Error::new("Error: Neither old nor new names may be empty"));
    }
    client::containers::rename(cli.client()?, old, new).await?;
    Ok(0)
}
