//! `kill`.

use runtime::containers::{self, Whom};

use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Send the signal to all processes of the container
    #[arg(short, long)]
    all: bool,
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    // As in runc an empty name is none. Zero asks whether there is somebody to signal.
    let name = if args.signal.is_empty() { "SIGTERM" } else { &args.signal };
    let signal = (name == "0")
        .then_some(0)
        .or_else(|| oci::signal::number(name))
        .ok_or_else(|| Failure::new(format!("unknown signal {:?}", args.signal)))?;
    let container = globals.open(&args.id)?;
    Ok(containers::kill(&container, signal, if args.all { Whom::All } else { Whom::Init })?)
}
