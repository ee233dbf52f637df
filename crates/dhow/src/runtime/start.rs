//! `start`.

use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    globals.warn(&runtime::containers::start(&globals.open(&args.id)?)?);
    Ok(())
}
