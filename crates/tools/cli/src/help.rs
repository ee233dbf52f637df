//! Help texts, in Docker's layout.

use crate::flags::options_help;
use crate::globals;
use crate::verbs::{GROUPS, VERBS, Verb};

/// Commands that a newcomer looks for first.
const COMMON: &[&str] =
    &["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"];

const WIDTH: usize = 80;

/// Help of one command, called as `path`.
pub fn verb(program: &str, path: &str, verb: &Verb) -> String {
    let mut out = usage(path, verb.usage);
    out.push_str(&format!("\n{}\n", verb.about));
    if verb.names.len() > 1 {
        let names: Vec<String> = verb.names.iter().map(|name| format!("{program} {name}")).collect();
        out.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let options = options_help((verb.command)(), width());
    if !options.is_empty() {
        out.push_str(&format!("\nOptions:\n{options}"));
    }
    out
}

/// How a command is called, a line a way.
pub fn usage(path: &str, usage: &str) -> String {
    let lines: Vec<String> = usage.split("\n\t").map(|line| format!("{path} {line}")).collect();
    format!("Usage:  {}\n", lines.join("\n\t").trim_end())
}

/// Help of a group, such as `container` or `buildx history`.
pub fn group(program: &str, name: &str) -> String {
    let about = GROUPS.iter().find(|(group, _)| *group == name);
    let about = about.map(|(_, about)| format!("{about}\n\n")).unwrap_or_default();
    let prefix = format!("{name} ");
    let mut commands: Vec<(&str, &str)> = Vec::new();
    for verb in VERBS {
        let word = verb.names.iter().find_map(|spelling| spelling.strip_prefix(&prefix));
        commands.extend(word.map(|word| (word, verb.about)));
    }
    commands.sort_unstable();
    format!(
        "Usage:  {program} {name} COMMAND\n\n{about}Commands:\n{}\nRun '{program} {name} COMMAND --help' for more \
         information on a command.\n",
        list(&commands)
    )
}

/// Help of the program.
pub fn program(program: &str) -> String {
    let single = |verb: &&Verb| !verb.names[0].contains(' ');
    let about = |name: &str| VERBS.iter().find(|verb| verb.names[0] == name).map_or("", |verb| verb.about);
    let common: Vec<(&str, &str)> = COMMON.iter().map(|name| (*name, about(name))).collect();
    let mut others: Vec<(&str, &str)> = VERBS
        .iter()
        .filter(single)
        .map(|verb| (verb.names[0], verb.about))
        .filter(|(name, _)| !COMMON.contains(name))
        .collect();
    others.push(("daemon", "Serve the API for other programs"));
    others.push(("registry", "Serve a registry of images"));
    others.sort_unstable();
    format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nBuild, move, run and connect containers\n\nCommon Commands:\n{}\n\
         Management Commands:\n{}\nCommands:\n{}\nGlobal Options:\n{}\nRun '{program} COMMAND --help' for more \
         information on a command.\n",
        list(&common),
        list(GROUPS),
        list(&others),
        options_help(globals::command(), width())
    )
}

fn list(commands: &[(&str, &str)]) -> String {
    let column = commands.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(9) + 3;
    commands.iter().map(|(name, about)| format!("  {name:<column$}{about}\n")).collect()
}

fn width() -> usize {
    crate::stream::terminal::size().map_or(WIDTH, |(_, columns)| usize::from(columns).max(40))
}
