//! DL3062: packages of go have versions.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3062", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in go install: write `go install <package>@<version>`";
    commands(view, told, message, |command| {
        command.name == "go" && packages(command).iter().any(|package| !is_fixed(package))
    });
}

/// Flags with a value behind, which have one dash.
const WITH_VALUE: [&str; 8] = ["-C", "-asmflags", "-gcflags", "-ldflags", "-mod", "-modfile", "-o", "-tags"];

fn packages(command: &Command) -> Vec<&str> {
    let mut skip = false;
    let words = command.args.iter().map(String::as_str).filter(|word| {
        let skipped = std::mem::replace(&mut skip, WITH_VALUE.contains(word));
        !skipped && !word.starts_with('-')
    });
    let words: Vec<&str> = words.collect();
    match words.split_first() {
        // What follows the package is for the program.
        Some((&"run", rest)) => rest.iter().copied().take(1).collect(),
        Some((&("install" | "get"), rest)) => rest.iter().copied().filter(|word| *word != "tool").collect(),
        _ => Vec::new(),
    }
}

fn is_fixed(package: &str) -> bool {
    let is_local = package.starts_with(['.', '/']);
    let moves = package.ends_with("@latest") || package.ends_with("@none");
    is_local || (package.contains('@') && !moves)
}
