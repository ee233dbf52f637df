use api::containers::{AttachOptions, WaitCondition};

use crate::container::attach::{detach_keys, require_terminal};
use crate::context::Cli;
use crate::error::Error;
use crate::stream::signals::{Screen, follow_size, forward};
use crate::stream::{Ended, Session};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Show the container's output and hand signals on to it
    #[arg(short, long)]
    attach: bool,
    /// Keys that end the connection and leave the container running
    #[arg(long)]
    detach_keys: Option<String>,
    /// Send standard input
    #[arg(short, long)]
    interactive: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.attach || args.interactive {
        if args.args.len() > 1 {
            return Err(Error::new("you cannot start and attach multiple containers at once"));
        }
        return attached(cli, &args).await;
    }
    let client = cli.client()?;
    let starts = args.args.iter().map(|name| client::containers::start(client, name, ""));
    let mut failed = Vec::new();
    for (name, result) in args.args.iter().zip(futures_util::future::join_all(starts).await) {
        match result {
            Ok(_) => cli.println(name)?,
            Err(error) => {
                cli.complain(&Error::from(error).message);
                failed.push(name.as_str());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(0),
        false => Err(Error::new(format!("Error: failed to start containers: {}", failed.join(", ")))),
    }
}

async fn attached(cli: &Cli, args: &Args) -> Outcome {
    let client = cli.client()?;
    let inspect = client::containers::inspect(client, &args.args[0], false).await?;
    let (id, config) = (&inspect.id, &inspect.config);
    let tty = config.tty;
    let stdin = args.interactive && config.open_stdin;
    require_terminal(cli, stdin, tty)?;
    let keys = detach_keys(cli, args.detach_keys.as_deref())?;
    let detach_keys = args.detach_keys.clone().unwrap_or_default();
    let options = AttachOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: detach_keys.clone(),
    };
    let _signals = if tty { None } else { Some(forward(client, id)?) };
    // Attached and waiting before it starts: neither output nor exit can be missed.
    let stream = client::containers::attach(client, id, &options).await?;
    let condition =
        if inspect.host_config.auto_remove { WaitCondition::Removed } else { WaitCondition::NextExit };
    let wait = client::containers::wait(client, id, condition).await?;
    client::containers::start(client, id, &detach_keys).await?;
    let _size = match tty && cli.stdout_is_terminal() {
        true => Some(follow_size(client, Screen::Container(id.clone()))?),
        false => None,
    };
    let session =
        Session { stream, tty, stdin, stdout: true, stderr: true, proxied: false, detach_keys: keys };
    match session.run().await? {
        Ended::Detached => Ok(0),
        Ended::Output => super::exit_code(wait.result().await?),
    }
}
