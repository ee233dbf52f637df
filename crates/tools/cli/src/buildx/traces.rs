//! What Docker's plugin does with traces of builds, of which there are none.

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, _args: Args) -> Outcome {
    Err(Error::new(format!(
        "{} is not supported: builds are remembered in words; \"history inspect\", \"history logs\" and \"history diff\" tell them",
        cli.path
    )))
}
