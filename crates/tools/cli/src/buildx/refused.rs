//! Commands of Docker's plugin that there is nothing for here.

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, _args: Args) -> Outcome {
    let why = match cli.path.split_once(' ').map_or("", |(_, command)| command) {
        command if command.contains("policy") => {
            "policies for sources are written in Rego, which is not read here"
        }
        _ => "a failed step is looked at with \"build shell\", which its error names",
    };
    Err(Error::new(format!("{} is not supported: {why}", cli.path)))
}
