//! `ps`: the processes of a container, as the program of that name shows them.

use std::process::{Command, Stdio};

use runtime::containers;

use super::list::{Format, json};
use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The container, and options of ps(1), whose output must have the column PID [default: -ef]
    #[arg(
        value_names = ["CONTAINER", "OPTION"],
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    let (id, options) =
        args.words.split_first().ok_or_else(|| Failure::new("\"ps\" requires a minimum of 1 argument"))?;
    let pids = containers::ps(&globals.open(id)?)?;
    match args.format {
        Format::Json => super::print(&json(&pids)?),
        Format::Table => super::print(&filtered(&ask(options)?, &pids)?),
    }
}

/// What the program prints.
fn ask(options: &[String]) -> Result<String, Failure> {
    let mut command = Command::new("ps");
    if options.is_empty() {
        command.arg("-ef")
    } else {
        command.args(options)
    };
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::of("run ps (of Debian's package procps)", &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(text.into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{}: {text}{said}", output.status.to_string().replace(": ", " "))))
}

/// The title and the lines of processes that are the container's.
fn filtered(text: &str, pids: &[i32]) -> Result<String, Failure> {
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let mut own = format!("{title}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 =
            field.parse().map_err(|error| Failure::of(&format!("unable to parse pid {field:?}"), &error))?;
        if pids.contains(&pid) {
            own.push_str(line);
            own.push('\n');
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let text = "UID   PID CMD\nroot    1 init\nroot   17 sleep 1\n\nroot  170 sh\n";
        assert_eq!(filtered(text, &[17]).unwrap(), "UID   PID CMD\nroot   17 sleep 1\n");
        assert!(filtered("COMMAND\nsh\n", &[17]).unwrap_err().text.contains("PID field"));
        assert!(filtered("CMD PID\nsh x\n", &[17]).is_err());
    }
}
