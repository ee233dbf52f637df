//! Every command of Docker's command line: arguments, one or few API calls, output.
//!
//! A command is one file: its flags with their help on top, then the function that does it. `verbs` is the table
//! of all of them. This crate is a client of the API and knows nothing of engines; the binary gives it a
//! connection and the user's surroundings, and ends the process with the code that [`run`] returns. Standard output
//! is for data; everything else goes to standard error.

pub mod context;
pub mod error;
pub mod flags;
pub mod format;
pub mod globals;
pub mod options;

mod bake;
mod build;
mod buildx;
mod container;
mod definition;
mod help;
mod image;
mod lint;
mod manifest;
mod network;
mod progress;
mod registry;
mod settings;
mod stream;
mod system;
mod verbs;
mod volume;

pub use context::{Connect, Files, Host, Link};
pub use error::Error;
pub use globals::Globals;

use context::Cli;
use flags::{Parsed, Shape};

/// Runs one command line (without the program's name and global flags) and returns the exit code.
pub async fn run(host: Host, globals: Globals) -> u8 {
    match dispatch(host, globals).await {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            error.code
        }
    }
}

/// Writes an error to standard error, where there is something to say.
pub fn report(error: &Error) {
    use std::io::Write as _;
    if !error.message.is_empty() {
        let _ = writeln!(
            std::io::stderr(),
            "{}",
            format::text::printable(&dockerfile::render::shortened(&error.message))
        );
    }
}

async fn dispatch(host: Host, globals: Globals) -> Result<u8, Error> {
    let words = verbs::in_order(globals.args.clone());
    let program = host.program.clone();
    let is_folder = |name: &String| host.directory.join(name).is_dir();
    let words_used = match words.as_slice() {
        // A folder to be built from may have the name of a command.
        [build, name] if build == "build" && is_folder(name) => verbs::named(build).map(|verb| (verb, 1)),
        words => verbs::find(words),
    };
    let version = globals.version;
    let path = match &words_used {
        Some((_, used)) => format!("{program} {}", words[..*used].join(" ")),
        None => program.clone(),
    };
    let cli = Cli::new(host, globals, path.clone());
    if version {
        cli.println(&format!(
            "Dhow version {}, serving Docker's API {}",
            cli.host.version,
            api::version::CURRENT
        ))?;
        return Ok(0);
    }
    let Some((verb, used)) = words_used else { return no_verb(&cli, &words) };
    let shape = Shape { path: path.clone(), usage: verb.usage, arity: verb.arity };
    match flags::parse((verb.command)(), &shape, &words[used..])? {
        Parsed::Help => cli.print(&help::verb(&program, &path, verb)).map(|()| 0),
        Parsed::Matches(matches) => (verb.run)(&cli, matches).await,
    }
}

/// Help, or words that name no command.
fn no_verb(cli: &Cli, words: &[String]) -> Result<u8, Error> {
    let program = cli.program();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [] | ["help"] = words[..] {
        return cli.print(&help::program(program)).map(|()| 0);
    }
    if let ["help", topic @ ..] = &words[..] {
        return cli.print(&about(program, topic)?).map(|()| 0);
    }
    let (group, rest) = words.split_at(verbs::group(&words));
    let group = group.join(" ");
    let path = format!("{program} {group}");
    let path = path.trim_end();
    let word = match rest {
        [] | ["--help" | "-h"] => return cli.print(&help::group(program, &group)).map(|()| 0),
        [word, ..] => word,
    };
    let usage = if group.is_empty() { String::new() } else { format!("Usage:  {path}\n\n") };
    let more = format!("Run '{path} --help' for more information");
    if word.starts_with('-') {
        let message = format!("unknown flag: {word}\n\nUsage:  {path} COMMAND\n\n{more}");
        return Err(Error::with_code(message, 125));
    }
    let near = dockerfile::likely(word, verbs::below(&group));
    let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    Err(Error::new(format!("{program}: unknown command: {path} {word}{near}\n\n{usage}{more}")))
}

/// The help about a command or a group.
fn about(program: &str, topic: &[&str]) -> Result<String, Error> {
    let words: Vec<String> = topic.iter().map(|word| (*word).to_owned()).collect();
    match verbs::find(&words) {
        Some((verb, used)) => {
            Ok(help::verb(program, &format!("{program} {}", words[..used].join(" ")), verb))
        }
        None if verbs::group(topic) == topic.len() => Ok(help::group(program, &topic.join(" "))),
        None => Err(Error::new(format!("unknown help topic: {}", topic.join(" ")))),
    }
}

/// Reads the command line up to the command. Asking for help is answered by [`run`] as the command `help`.
pub fn parse(program: &str, arguments: &[String]) -> Result<Globals, Error> {
    let help = || Globals { args: vec!["help".to_owned()], ..Globals::default() };
    Ok(globals::parse(program, arguments)?.unwrap_or_else(help))
}
