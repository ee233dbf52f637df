//! `run`: create, start, and, unless detached, stay until the end.

use runtime::containers;

use super::foreground::Foreground;
use super::{Failure, Globals, setup};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    setup: setup::Args,
    /// Return as soon as the container runs
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container when it has ended
    #[arg(long)]
    keep: bool,
    /// Do not become the parent of the container's orphans
    #[arg(long)]
    no_subreaper: bool,
}

pub fn run(globals: &Globals, args: &Args) -> Result<u8, Failure> {
    go(globals, args).map_err(|failure| failure.during("run"))
}

fn go(globals: &Globals, args: &Args) -> Result<u8, Failure> {
    if args.detach {
        let waiting = setup::create(globals, &args.setup, true)?;
        start(globals, args, &waiting)?;
        return Ok(0);
    }
    // Before there is anybody to hand a signal on to, none may get lost.
    let foreground = Foreground::begin(!args.no_subreaper)?;
    let waiting = setup::create(globals, &args.setup, false)?;
    start(globals, args, &waiting)?;
    let code = foreground.follow(waiting.pid, &waiting.pidfd, waiting.master.as_ref());
    if !args.keep {
        let deleted = containers::delete(&globals.root, &args.setup.id, true)?;
        globals.warn(&deleted.warnings);
    }
    code
}

fn start(globals: &Globals, args: &Args, waiting: &containers::Waiting) -> Result<(), Failure> {
    match containers::start(&waiting.container) {
        Ok(warnings) => globals.warn(&warnings),
        Err(error) => {
            setup::remove(globals, &args.setup.id);
            return Err(error.into());
        }
    }
    Ok(())
}
