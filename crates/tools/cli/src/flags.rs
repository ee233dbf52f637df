//! Command lines as Docker's flag library reads them, on top of clap: a flag's value may start with a dash, a
//! repeated flag overrides or adds, switches take `=false`, and errors and help have Docker's shape.

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::Error;

/// How many arguments a command takes beside its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// What a command's error and help texts need to know about it.
pub struct Shape<'a> {
    /// `docker container stop`, as it was called.
    pub path: String,
    pub usage: &'a str,
    pub arity: Arity,
}

/// The outcome of reading a command line.
pub enum Parsed {
    Matches(ArgMatches),
    Help,
}

/// The name under which every command keeps its positional arguments.
pub const POSITIONAL: &str = "args";

/// Go's `strconv.ParseBool`.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", template::quote(text))),
    }
}

/// Go's `strconv.ParseInt`.
pub fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing {}: invalid syntax", template::quote(text)))
}

/// Gives clap's command the manners of Docker's flag library.
pub fn docker_style(command: Command) -> Command {
    let short_h = command.get_arguments().any(|arg| arg.get_short() == Some('h'));
    let help = Arg::new("help").long("help").action(ArgAction::Help).help("Show this text");
    let help = if short_h { help } else { help.short('h') };
    command
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .infer_long_args(false)
        .mut_args(|arg| match arg.get_action() {
            ArgAction::SetTrue => switch(arg),
            ArgAction::Set | ArgAction::Append if !arg.is_positional() && !is_switch(&arg) => {
                arg.allow_hyphen_values(true)
            }
            _ => arg,
        })
        .arg(help)
}

fn is_switch(arg: &Arg) -> bool {
    arg.is_require_equals_set()
}

fn switch(arg: Arg) -> Arg {
    let on = arg.get_default_values().iter().any(|value| value == "true");
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value(if on { "true" } else { "false" })
        .default_missing_value("true")
        .value_parser(ValueParser::new(boolean))
}

/// Reads `arguments`; the errors carry Docker's texts and exit codes.
pub fn parse(command: Command, shape: &Shape<'_>, arguments: &[String]) -> Result<Parsed, Error> {
    let mut command = docker_style(command);
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(Parsed::Help),
        Err(error) => {
            let message = flag_error(&command, &error, arguments);
            let path = &shape.path;
            let usage = crate::help::usage(path, shape.usage);
            let text = format!("{message}\n\n{usage}\nRun '{path} --help' for more information");
            return Err(Error::with_code(text, 125));
        }
    };
    let count = match matches.try_get_many::<String>(POSITIONAL) {
        Ok(values) => values.map_or(0, Iterator::count),
        Err(_) => 0,
    };
    check(shape, count)?;
    Ok(Parsed::Matches(matches))
}

fn check(shape: &Shape<'_>, count: usize) -> Result<(), Error> {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let (wrong, rule) = match shape.arity {
        Arity::None => (count != 0, "accepts no arguments".to_owned()),
        Arity::Exactly(want) => (count != want, format!("requires {want} {}", plural(want))),
        Arity::AtLeast(want) => (count < want, format!("requires at least {want} {}", plural(want))),
        Arity::AtMost(want) => (count > want, format!("requires at most {want} {}", plural(want))),
        Arity::Between(least, most) => (
            count < least || count > most,
            format!("requires at least {least} and at most {most} {}", plural(most)),
        ),
    };
    if !wrong {
        return Ok(());
    }
    let path = &shape.path;
    let program = path.split(' ').next().unwrap_or_default();
    let see = if matches!(shape.arity, Arity::AtLeast(_)) { "See" } else { "Run" };
    let usage = crate::help::usage(path, shape.usage);
    Err(Error::new(format!(
        "{program}: '{path}' {rule}\n\n{usage}\n{see} '{path} --help' for more information"
    )))
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

fn flag_error(command: &Command, error: &clap::Error, arguments: &[String]) -> String {
    let flag = context(error, ContextKind::InvalidArg);
    let name = flag.split([' ', '=', '[', '<']).next().unwrap_or_default().to_owned();
    match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with("--") => {
            let known = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let near = dockerfile::nearest(&name[2..], known.filter_map(clap::Arg::get_long));
            let near = near.map(|near| format!(" (did you mean --{near}?)")).unwrap_or_default();
            format!("unknown flag: {name}{near}")
        }
        ErrorKind::UnknownArgument if name.starts_with('-') => {
            let short = name.trim_start_matches('-');
            let cluster = arguments.iter().find(|argument| {
                argument.starts_with('-') && !argument.starts_with("--") && argument.contains(short)
            });
            format!("unknown shorthand flag: '{short}' in {}", cluster.unwrap_or(&name))
        }
        ErrorKind::ValueValidation => {
            let value = context(error, ContextKind::InvalidValue);
            let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!(
                "invalid argument {} for \"{}\" flag: {reason}",
                template::quote(&value),
                both(command, &name)
            )
        }
        ErrorKind::InvalidValue
        | ErrorKind::WrongNumberOfValues
        | ErrorKind::NoEquals
        | ErrorKind::TooFewValues => match arguments.last() {
            Some(last) if last.starts_with('-') && !last.starts_with("--") => {
                let short = last.chars().next_back().unwrap_or_default();
                format!("flag needs an argument: '{short}' in {last}")
            }
            _ => format!("flag needs an argument: {name}"),
        },
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// `-m, --memory`.
fn both(command: &Command, name: &str) -> String {
    let bare = name.trim_start_matches('-');
    let found = command.get_arguments().find(|arg| {
        arg.get_long() == Some(bare) || arg.get_short().is_some_and(|short| bare == short.to_string())
    });
    match found {
        Some(arg) => spelled(arg).trim_start().to_owned(),
        None => name.to_owned(),
    }
}

fn spelled(arg: &Arg) -> String {
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, Some(long)) => format!("    --{long}"),
        (None, None) => String::new(),
    }
}

/// The "Options:" part of a help text, sorted by name and wrapped to `width` columns.
pub fn options_help(command: Command, width: usize) -> String {
    let command = docker_style(command);
    let mut rows: Vec<(String, String, String)> = command
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !arg.is_hide_set() && arg.get_id() != "help")
        .map(|arg| {
            let name = arg.get_long().unwrap_or_default().to_owned();
            let left = format!("  {} {}", spelled(arg), kind(arg));
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let default_on = is_switch(arg) && arg.get_default_values().iter().any(|value| value == "true");
            (
                name,
                left.trim_end().to_owned(),
                if default_on { format!("{help} (default true)") } else { help },
            )
        })
        .collect();
    rows.sort();
    let column = rows.iter().map(|(_, left, _)| left.len()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (_, left, help) in rows {
        let mut line = format!("{left:<column$}");
        let mut used = column;
        for word in help.split_whitespace() {
            let need = word.chars().count();
            if used > column && used + 1 + need > width.max(column + 20) {
                out.push_str(line.trim_end());
                out.push('\n');
                line = " ".repeat(column);
                used = column;
            } else if used > column {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += need;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The word that stands for a flag's value.
fn kind(arg: &Arg) -> String {
    if is_switch(arg) {
        return String::new();
    }
    let named = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (named, arg.get_action()) {
        // clap's own default is the field's name in capitals.
        (Some(name), _) if name.chars().any(char::is_lowercase) => name.to_owned(),
        (_, ArgAction::Append) => "list".to_owned(),
        _ => "string".to_owned(),
    }
}
