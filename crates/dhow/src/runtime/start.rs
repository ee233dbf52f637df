//! `start`.

use super::notify::Relay;
use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    let container = globals.open(&args.id)?;
    let relay = Relay::begin(globals, &container)?;
    let init = if relay.is_some() { container.init()? } else { None };
    globals.warn(&runtime::containers::start(&container)?);
    match (relay, init) {
        (Some(relay), Some((pid, process))) => relay.follow(&process, Some(pid)),
        _ => Ok(()),
    }
}
