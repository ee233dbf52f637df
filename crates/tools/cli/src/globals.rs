//! The flags before the command.

use clap::{Args as _, Command, FromArgMatches as _};

use crate::error::Error;
use crate::flags::{self, Arity, Parsed, Shape};

#[derive(Debug, Clone, Default, clap::Args)]
pub struct Globals {
    /// Directory of the client's settings and credentials
    #[arg(long)]
    pub config: Option<String>,
    /// Name of the connection to use; there is one, "default"
    #[arg(short, long)]
    pub context: Option<String>,
    /// Print debugging messages
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Server to connect to: unix:///path, tcp://host:port or ssh://host
    #[arg(short = 'H', long = "host")]
    pub hosts: Vec<String>,
    /// Messages to print: debug, info, warn, error or fatal
    #[arg(short, long, value_parser = level)]
    pub log_level: Option<String>,
    /// Print the version and end
    #[arg(short, long)]
    pub version: bool,
    #[arg(trailing_var_arg = true, hide = true)]
    pub args: Vec<String>,
}

fn level(text: &str) -> Result<String, String> {
    match text {
        "debug" | "info" | "warn" | "error" | "fatal" => Ok(text.to_owned()),
        _ => Err("must be \"debug\", \"info\", \"warn\", \"error\" or \"fatal\"".to_owned()),
    }
}

/// The line above the list of commands in errors and help.
pub const USAGE: &str = "[OPTIONS] COMMAND [ARG...]";

pub fn command() -> Command {
    Globals::augment_args(Command::new("globals"))
}

/// Splits a command line into the global flags (with the command behind them in `args`); `None` when it asks
/// for help.
pub fn parse(program: &str, arguments: &[String]) -> Result<Option<Globals>, Error> {
    let shape = Shape { path: program.to_owned(), usage: USAGE, arity: Arity::AtLeast(0) };
    match flags::parse(command(), &shape, arguments)? {
        Parsed::Help => Ok(None),
        Parsed::Matches(matches) => {
            let globals =
                Globals::from_arg_matches(&matches).map_err(|error| Error::new(error.to_string()))?;
            match globals.context.as_deref() {
                None | Some("" | "default") => Ok(Some(globals)),
                Some(other) => Err(Error::new(format!(
                    "Failed to initialize: unable to resolve docker endpoint: context {}: context not found: \
                     only \"default\" exists, use --host",
                    template::quote(other)
                ))),
            }
        }
    }
}
