//! What Docker's plugin does with records of builds for Docker Desktop.

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, _args: Args) -> Outcome {
    let why = "it shows builds in Docker Desktop, which is none of this server's";
    let instead = "\"history inspect\", \"history logs\" and \"history diff\" tell builds";
    Err(Error::new(format!("{} is not supported: {why}; {instead}", cli.path)))
}
