//! DL3028: gems have versions.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3028", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in gem install: write `gem install <gem>:<version>`";
    commands(view, told, message, |command| {
        let versioned = command.has_any(&["-v", "--version"])
            || command.args.iter().any(|arg| arg.starts_with("--version="));
        command.is("gem", &["install", "i"]) && !versioned && gems(command).any(|gem| !gem.contains(':'))
    });
}

/// The words up to `--` that are no flags and no values of flags.
fn gems(command: &Command) -> impl Iterator<Item = &str> {
    let words = command.args.iter().map(String::as_str).take_while(|arg| *arg != "--");
    let mut skip = false;
    words.filter(move |word| {
        let skipped = std::mem::replace(&mut skip, word.starts_with('-'));
        !skipped && !word.starts_with('-') && !matches!(*word, "install" | "i")
    })
}
