//! `run`: create, start, and, unless detached, stay until the end.

use runtime::containers;

use super::foreground::Foreground;
use super::notify::Relay;
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
        let relay = start(globals, args, &waiting)?;
        return relay.map_or(Ok(()), |relay| relay.follow(&waiting.pidfd, Some(waiting.pid))).map(|()| 0);
    }
    // Before there is anybody to hand a signal on to, none may get lost.
    let foreground = Foreground::begin(!args.no_subreaper)?;
    let waiting = setup::create(globals, &args.setup, false)?;
    let relay = start(globals, args, &waiting)?;
    let code = std::thread::scope(|scope| {
        if let Some(relay) = &relay {
            // Ends with the container at the latest.
            scope.spawn(|| {
                if let Err(failure) = relay.follow(&waiting.pidfd, None) {
                    globals.log.warning(&failure.text);
                }
            });
        }
        foreground.follow(waiting.pid, &waiting.pidfd, waiting.master.as_ref())
    });
    if !args.keep {
        let deleted = containers::delete(&globals.root, &args.setup.id, true)?;
        globals.warn(&deleted.warnings);
    }
    code
}

/// Gives who listens for the program's word that it is ready.
fn start<'a>(
    globals: &'a Globals,
    args: &Args,
    waiting: &containers::Waiting,
) -> Result<Option<Relay<'a>>, Failure> {
    let started = Relay::begin(globals, &waiting.container).and_then(|relay| {
        globals.warn(&containers::start(&waiting.container)?);
        Ok(relay)
    });
    started.inspect_err(|_| setup::remove(globals, &args.setup.id))
}
