//! `delete`.

use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill the container if it runs
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    let deleted = runtime::containers::delete(&globals.root, &args.id, args.force)?;
    globals.warn(&deleted.warnings);
    Ok(())
}
