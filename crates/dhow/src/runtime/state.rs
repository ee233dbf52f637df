//! `state`: the specification's document.

use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    let state = globals.open(&args.id)?.state()?;
    super::print_json(&state)
}
