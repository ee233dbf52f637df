//! `pause`.

use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    Ok(runtime::containers::pause(&globals.open(&args.id)?)?)
}
