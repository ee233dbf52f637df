use api::containers::{AttachOptions, WaitCondition};

use crate::container::attach::{detach_keys, require_terminal};
use crate::container::config::{self, Flags};
use crate::container::create;
use crate::context::Cli;
use crate::error::Error;
use crate::stream::signals::{Screen, follow_size, forward};
use crate::stream::{Ended, Session};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Keys that end the connection and leave the container running
    #[arg(long)]
    detach_keys: Option<String>,
    /// Hand received signals on to the container
    #[arg(long, default_value_t = true)]
    sig_proxy: bool,
    #[command(flatten)]
    create: create::Options,
    #[command(flatten)]
    flags: Flags,
    #[arg(trailing_var_arg = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let attached = if args.detach { None } else { Some(args.flags.attached()) };
    if args.detach && args.flags.attaches() {
        return Err(Error::new("conflicting options: cannot specify both --attach and --detach"));
    }
    // Before anything is made: a terminal that is not there cannot be given.
    if attached.is_some_and(|streams| streams.stdin) {
        require_terminal(cli, true, args.flags.tty())?;
    }
    let keys = detach_keys(cli, args.detach_keys.as_deref()).map_err(|error| usage(cli, error))?;
    let plan = config::plan(cli, &args.flags, &args.args, args.detach).map_err(|error| usage(cli, error))?;
    let (tty, auto_remove) = (plan.request.config.tty, plan.auto_remove());
    let detach_keys = args.detach_keys.clone().unwrap_or_default();
    let id = create::create(cli, &args.create, plan).await.map_err(|error| usage(cli, error))?;
    let client = cli.client()?;
    let Some(streams) = attached else {
        client::containers::start(client, &id, &detach_keys)
            .await
            .map_err(|error| failed_start(cli, error))?;
        cli.println(&id)?;
        return Ok(0);
    };
    // With a terminal too: one that nobody types at is not raw, and its Ctrl-C, as a closed window, comes as a signal.
    let _signals = if args.sig_proxy { Some(forward(client, &id)?) } else { None };
    let options = AttachOptions {
        stream: true,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        logs: false,
        detach_keys: detach_keys.clone(),
    };
    // Attached and waiting before it starts: neither output nor exit can be missed.
    let stream =
        client::containers::attach(client, &id, &options).await.map_err(|error| usage(cli, error.into()))?;
    let condition = if auto_remove { WaitCondition::Removed } else { WaitCondition::NextExit };
    let wait =
        client::containers::wait(client, &id, condition).await.map_err(|error| usage(cli, error.into()))?;
    if let Err(error) = client::containers::start(client, &id, &detach_keys).await {
        drop(stream);
        if auto_remove {
            // The server removes it; the next command should not find it any more.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(10), wait.result()).await;
        }
        return Err(failed_start(cli, error));
    }
    let _size = match tty && cli.stdout_is_terminal() {
        true => Some(follow_size(client, Screen::Container(id.clone()))?),
        false => None,
    };
    let (stdin, stdout, stderr) = (streams.stdin, streams.stdout, streams.stderr);
    let session = Session { stream, tty, stdin, stdout, stderr, proxied: args.sig_proxy, detach_keys: keys };
    match session.run().await? {
        Ended::Detached => Ok(0),
        Ended::Output => super::exit_code(wait.result().await?),
    }
}

/// `docker: …` and where to find help, with exit code 125: the container itself has not said anything yet.
pub fn usage(cli: &Cli, error: Error) -> Error {
    if error.message.is_empty() {
        return error;
    }
    let (program, path) = (cli.program(), &cli.path);
    let message = format!("{program}: {}\n\nRun '{path} --help' for more information", error.message);
    Error { message, code: 125, ..error }
}

fn failed_start(cli: &Cli, error: client::Error) -> Error {
    let error = Error::from(error);
    let code = start_code(&error.message).unwrap_or(125);
    Error { code, ..usage(cli, error) }
}

/// 127 when there is no such command, 126 when it cannot be executed, as in a shell.
pub fn start_code(message: &str) -> Option<u8> {
    let missing = ["executable file not found", "no such file or directory", "system cannot find the file"];
    let refused = ["permission denied", "exec format error", "is a directory"];
    let lower = message.to_lowercase();
    // Only the command itself counts: a missing mount source says "no such file" too.
    let about_command =
        ["exec", "unable to start container process", "executable"].iter().any(|w| lower.contains(w));
    match lower.as_str() {
        text if about_command && missing.iter().any(|part| text.contains(part)) => Some(127),
        text if about_command && refused.iter().any(|part| text.contains(part)) => Some(126),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::start_code;

    #[test]
    fn exit_codes_of_commands_that_cannot_run() {
        let oci = "OCI runtime create failed: unable to start container process: error during container init: exec: ";
        assert_eq!(
            start_code(&format!("{oci}\"nope\": executable file not found in $PATH: unknown")),
            Some(127)
        );
        assert_eq!(start_code(&format!("{oci}\"/nope\": stat /nope: no such file or directory")), Some(127));
        assert_eq!(start_code(&format!("{oci}\"/etc\": is a directory: unknown")), Some(126));
        assert_eq!(start_code(&format!("{oci}\"/etc/passwd\": permission denied: unknown")), Some(126));
        assert_eq!(start_code("Bind for 0.0.0.0:80 failed: port is already allocated"), None);
    }
}
