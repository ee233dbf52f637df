use api::containers::{AttachOptions, WaitCondition};

use crate::context::Cli;
use crate::error::Error;
use crate::options::keys;
use crate::settings;
use crate::stream::signals::{Screen, follow_size, forward};
use crate::stream::{Ended, Session};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Keys that end the connection and leave the container running
    #[arg(long)]
    detach_keys: Option<String>,
    /// Do not send standard input
    #[arg(long)]
    no_stdin: bool,
    /// Hand received signals on to the container
    #[arg(long, default_value_t = true)]
    sig_proxy: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let inspect = client::containers::inspect(client, &args.args[0], false).await?;
    let state = &inspect.state;
    if !state.running {
        return Err(Error::new("You cannot attach to a stopped container, start it first"));
    }
    if state.paused {
        return Err(Error::new("You cannot attach to a paused container, unpause it first"));
    }
    if state.restarting {
        return Err(Error::new("You cannot attach to a restarting container, wait until it is running"));
    }
    let tty = inspect.config.tty;
    let stdin = !args.no_stdin && inspect.config.open_stdin;
    // Asked of every container with a terminal, also one whose input nobody reads: as Docker does, and from a script it
    // would wait for ever.
    require_terminal(cli, !args.no_stdin, tty)?;
    let detach_keys = detach_keys(cli, args.detach_keys.as_deref())?;
    let options = AttachOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: args.detach_keys.clone().unwrap_or_default(),
    };
    let _signals = if args.sig_proxy && !tty { Some(forward(client, &inspect.id)?) } else { None };
    let wait = client::containers::wait(client, &inspect.id, WaitCondition::NotRunning).await?;
    let stream = client::containers::attach(client, &inspect.id, &options).await?;
    let _size = match tty && cli.stdout_is_terminal() {
        true => Some(follow_size(client, Screen::Container(inspect.id.clone()))?),
        false => None,
    };
    let session = Session { stream, tty, stdin, stdout: true, stderr: true, proxied: false, detach_keys };
    match session.run().await? {
        Ended::Detached => Ok(0),
        Ended::Output => super::exit_code(wait.result().await?),
    }
}

/// A container's terminal needs ours.
pub fn require_terminal(cli: &Cli, stdin: bool, tty: bool) -> Result<(), Error> {
    match stdin && tty && !cli.stdin_is_terminal() {
        true => Err(Error::new("the input device is not a TTY")),
        false => Ok(()),
    }
}

/// The detach keys of a flag, of the settings, or Docker's own.
pub fn detach_keys(cli: &Cli, flag: Option<&str>) -> Result<Vec<u8>, Error> {
    let text = match flag.filter(|text| !text.is_empty()) {
        Some(text) => Some(text.to_owned()),
        None => settings::text(cli, "detachKeys")?,
    };
    match text {
        None => Ok(keys::DEFAULT.to_vec()),
        Some(text) => {
            keys::parse(&text).map_err(|error| Error::new(format!("invalid detach keys ({text}): {error}")))
        }
    }
}
