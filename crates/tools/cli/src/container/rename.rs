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
    match client::containers::rename(cli.client()?, old, new).await {
        Ok(_) => Ok(0),
        Err(error) => {
            let reason = Error::from(error).message;
            Err(Error::new(format!("{reason}\nError: failed to rename container named {old}")))
        }
    }
}
