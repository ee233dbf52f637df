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
    let words = globals.args.clone();
    let program = host.program.clone();
    let (version, words_used) = (globals.version, verbs::find(&words));
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
    let is_group = |word: &str| verbs::GROUPS.iter().any(|(group, _)| *group == word);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help"] => cli.print(&help::program(program))?,
        ["help", topic @ ..] => {
            let topic: Vec<String> = topic.iter().map(|word| (*word).to_owned()).collect();
            match verbs::find(&topic) {
                Some((verb, used)) => {
                    let path = format!("{program} {}", topic[..used].join(" "));
                    cli.print(&help::verb(program, &path, verb))?;
                }
                None if topic.len() == 1 && is_group(&topic[0]) => {
                    cli.print(&help::group(program, &topic[0]))?
                }
                None => return Err(Error::new(format!("unknown help topic: {}", topic.join(" ")))),
            }
        }
        [group] | [group, "--help" | "-h"] if is_group(group) => cli.print(&help::group(program, group))?,
        [group, word, ..] if is_group(group) && word.starts_with('-') => {
            return Err(Error::with_code(
                format!(
                    "unknown flag: {word}\n\nUsage:  {program} {group} COMMAND\n\nRun '{program} {group} --help' for \
                     more information"
                ),
                125,
            ));
        }
        [group, word, ..] if is_group(group) => {
            return Err(Error::new(format!(
                "{program}: unknown command: {program} {group} {word}\n\nUsage:  {program} {group}\n\nRun \
                 '{program} {group} --help' for more information"
            )));
        }
        [word, ..] => {
            return Err(Error::new(format!(
                "{program}: unknown command: {program} {word}\n\nRun '{program} --help' for more information"
            )));
        }
    }
    Ok(0)
}

/// Reads the command line up to the command. Asking for help is answered by [`run`] as the command `help`.
pub fn parse(program: &str, arguments: &[String]) -> Result<Globals, Error> {
    let help = || Globals { args: vec!["help".to_owned()], ..Globals::default() };
    Ok(globals::parse(program, arguments)?.unwrap_or_else(help))
}
