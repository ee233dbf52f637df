//! `create`.

use super::{Failure, Globals, setup};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    setup: setup::Args,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    setup::create(globals, &args.setup, true).map(drop).map_err(|failure| failure.during("create"))
}
