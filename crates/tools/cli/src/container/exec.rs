use api::exec::{CreateRequest, StartRequest};

use crate::container::attach::{detach_keys, require_terminal};
use crate::context::Cli;
use crate::error::Error;
use crate::options::env;
use crate::stream::signals::{Screen, follow_size};
use crate::stream::{Ended, Session, terminal};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Leave the command running in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that end the connection and leave the command running
    #[arg(long)]
    detach_keys: Option<String>,
    /// Set an environment variable; a name alone hands on your own
    #[arg(short, long)]
    env: Vec<String>,
    /// Set the environment variables in a file
    #[arg(long)]
    env_file: Vec<String>,
    /// Send standard input
    #[arg(short, long)]
    interactive: bool,
    /// Lift the confinement for the command
    #[arg(long)]
    privileged: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// User name or id, and group: <name|uid>[:<group|gid>]
    #[arg(short, long)]
    user: Option<String>,
    /// Directory to run in
    #[arg(short, long)]
    workdir: Option<String>,
    #[arg(trailing_var_arg = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let (container, command) = (&args.args[0], &args.args[1..]);
    let keys = detach_keys(cli, args.detach_keys.as_deref())?;
    let environment = environment(cli, &args.env_file, &args.env)?;
    let attach = !args.detach;
    if attach {
        require_terminal(cli, args.interactive, args.tty)?;
    }
    let console_size = match args.tty && attach {
        true => terminal::size().map(|(rows, columns)| [rows.into(), columns.into()]),
        false => None,
    };
    let request = CreateRequest {
        user: args.user.unwrap_or_default(),
        privileged: args.privileged,
        tty: args.tty,
        console_size,
        attach_stdin: attach && args.interactive,
        attach_stderr: attach,
        attach_stdout: attach,
        detach_keys: args.detach_keys.unwrap_or_default(),
        env: environment,
        working_dir: args.workdir.unwrap_or_default(),
        cmd: command.to_vec().into(),
    };
    let id = client::exec::create(client, container, &request).await?.id;
    let start = StartRequest { detach: args.detach, tty: args.tty, console_size };
    if args.detach {
        client::exec::start_detached(client, &id, &start).await?;
        return Ok(0);
    }
    let stream = client::exec::start(client, &id, &start).await.map_err(|error| start_error(error.into()))?;
    let _size = match args.tty && cli.stdout_is_terminal() {
        true => Some(follow_size(client, Screen::Exec(id.clone()))?),
        false => None,
    };
    let session = Session {
        stream,
        tty: args.tty,
        stdin: args.interactive,
        stdout: true,
        stderr: true,
        proxied: false,
        detach_keys: keys,
    };
    if session.run().await? == Ended::Detached {
        return Ok(0);
    }
    let code = client::exec::inspect(client, &id).await?.exit_code.unwrap_or(0);
    Ok((code & 0xff) as u8)
}

/// A command that cannot be run has a shell's exit codes, and the runtime's own words.
fn start_error(error: Error) -> Error {
    match super::run::start_code(&error.message) {
        None => error,
        Some(code) => {
            let message =
                error.message.strip_prefix("Error response from daemon: ").unwrap_or(&error.message);
            Error { message: message.to_owned(), code, ..error }
        }
    }
}

/// The variables of `--env-file` and `-e`, in this order.
pub fn environment(cli: &Cli, files: &[String], variables: &[String]) -> Result<Vec<String>, Error> {
    let lookup = |name: &str| cli.variable(name);
    let mut out = Vec::new();
    for path in files {
        let content = cli.read(path)?;
        out.extend(
            env::file(&content, &lookup)
                .map_err(|error| Error::new(format!("invalid env file ({path}): {error}")))?,
        );
    }
    for text in variables {
        out.push(env::variable(text, &lookup)?);
    }
    Ok(out)
}
