use crate::context::Cli;
use crate::error::Error;
use crate::flags::{self, Parsed, Shape};
use crate::verbs::{self, Outcome};

#[derive(clap::Args)]
pub struct Args {
    #[arg(trailing_var_arg = true)]
    args: Vec<String>,
}

/// Runs a shell, or the command given, where a step failed: its files, variables, user, directory, mounts and network. No step
/// named is the last one.
pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (id, command) = match args.args.split_first() {
        Some((id, command)) => (id.as_str(), command),
        None => ("", &[][..]),
    };
    // Its image is lent to us until this is dropped.
    let mut answer = client::builds::shell(cli.client()?, id).await?;
    let ready =
        answer.next().await.transpose()?.ok_or_else(|| Error::new("the server said nothing of the step"))?;
    if id.is_empty() {
        eprintln(&format!("failed step {}: {}", ready.id, ready.instruction));
        ready.others.iter().for_each(|other| eprintln(&format!("also kept: {other}")));
    }
    for missing in &ready.missing {
        eprintln(&format!("not here: {missing}"));
    }
    let mut words: Vec<String> =
        ["run", "--rm", "--interactive", "--entrypoint="].map(str::to_owned).to_vec();
    if cli.stdin_is_terminal() && cli.stdout_is_terminal() {
        words.push("--tty".to_owned());
    }
    if ready.privileged {
        words.push("--privileged".to_owned());
    }
    words.extend(["--network".to_owned(), ready.network.clone()]);
    words.extend(ready.devices.iter().map(|device| format!("--device={device}")));
    words.extend(ready.extra_hosts.iter().map(|host| format!("--add-host={host}")));
    words.extend(ready.ulimits.iter().map(|limit| format!("--ulimit={limit}")));
    if ready.shm_size > 0 {
        words.push(format!("--shm-size={}", ready.shm_size));
    }
    words.extend(ready.mounts.iter().flat_map(|mount| ["--mount".to_owned(), mount.clone()]));
    words.push(ready.image.clone());
    match command {
        [] => words.push(ready.shell.clone()),
        command => words.extend_from_slice(command),
    }
    container(cli, &words).await
}

/// The command line `run …` in this process.
async fn container(cli: &Cli, words: &[String]) -> Outcome {
    let (verb, used) = verbs::find(words).ok_or_else(|| Error::new("there is no run"))?;
    let shape = Shape { path: "docker run".to_owned(), usage: verb.usage, arity: verb.arity };
    match flags::parse((verb.command)(), &shape, &words[used..])? {
        Parsed::Matches(matches) => (verb.run)(cli, matches).await,
        Parsed::Help => Ok(0),
    }
}

fn eprintln(line: &str) {
    use std::io::Write as _;
    // Where nobody reads it, it is not missed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
