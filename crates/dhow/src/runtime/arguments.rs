//! What can be typed, as runc has it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::log::Format;
use super::{
    Failure, create, delete, events, exec, features, kill, list, pause, ps, resume, run, spec, start, state,
    update,
};

/// Engines read the first line for the program and its version, the second for the specification's.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// Open Container Initiative runtime
#[derive(Debug, Parser)]
#[command(name = "dhow-runtime", version = VERSION, disable_version_flag = true, args_override_self = true,
    arg_required_else_help = true)]
pub struct Arguments {
    /// Log messages for those who look for an error
    #[arg(long)]
    pub debug: bool,
    /// File to write log messages to, beside standard error
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Form of log messages
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
    /// Directory of the containers' state, on a tmpfs [default: /run/dhow-runtime]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub criu: Option<OsString>,
    /// Let systemd make control groups; cgroupsPath is of the form "slice:prefix:name"
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Whether to do without control groups where they may not be made
    #[arg(long, value_enum, default_value_t = Rootless::Auto)]
    pub rootless: Rootless,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Rootless {
    True,
    False,
    /// As the user is root or not.
    Auto,
}

/// Only the flags of the verb that is typed are made: all of them would cost a tenth of the time that a start takes.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Create a container, which waits for its start
    Create(create::Args),
    /// Remove a container that has stopped
    Delete(delete::Args),
    /// Print what a container uses, and when it runs out of memory
    Events(events::Args),
    /// Execute one more process in a container
    Exec(Box<exec::Args>),
    /// Print what this runtime knows
    Features(features::Args),
    /// Send a signal to a container's init
    Kill(kill::Args),
    /// List containers
    List(list::Args),
    /// Suspend all processes of a container
    Pause(pause::Args),
    /// List the processes of a container
    Ps(ps::Args),
    /// Resume what was paused
    Resume(resume::Args),
    /// Create and start a container
    Run(run::Args),
    /// Write a configuration to start from
    Spec(spec::Args),
    /// Execute the program of a created container
    Start(start::Args),
    /// Print the state of a container
    State(state::Args),
    /// Change the limits of a container
    Update(Box<update::Args>),
    /// The same as help
    #[command(hide = true)]
    H(Help),
    #[command(hide = true)]
    Checkpoint(Anything),
    #[command(hide = true)]
    Restore(Anything),
}

/// What help is wanted for.
#[derive(Debug, Args)]
pub struct Help {
    #[arg(value_name = "COMMAND")]
    verb: Option<String>,
}

impl Help {
    pub fn text(&self) -> Result<String, Failure> {
        let mut command = Arguments::command();
        let Some(verb) = &self.verb else { return Ok(command.render_help().to_string()) };
        command.build();
        match command.find_subcommand_mut(verb) {
            Some(found) => Ok(found.render_help().to_string()),
            None => Err(Failure { text: format!("No help topic for '{verb}'"), code: 3 }),
        }
    }
}

/// What is not looked at.
#[derive(Debug, Args)]
pub struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_given_twice_the_last_counts() {
        let typed = "dhow-runtime --root a --debug --root b --debug exec -d -d --cwd /a --cwd /b --env A=1 --env B=2 x true";
        let arguments = Arguments::try_parse_from(typed.split(' ')).unwrap();
        assert_eq!(arguments.root, Some("b".into()));
        let Verb::Exec(exec) = arguments.verb else { panic!("{:?}", arguments.verb) };
        let text = format!("{exec:?}");
        assert!(text.contains("\"/b\"") && !text.contains("\"/a\""), "{text}");
        assert!(text.contains("A=1") && text.contains("B=2"), "{text}");
    }
}
