//! DL3013: packages of pip have versions.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3013", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in pip install: write `pip install <package>==<version>`, or install by \
                   `--requirement <file>`";
    commands(view, told, message, |command| {
        command.is_pip_install()
            && !command.has_flag(&["constraint", "c"])
            && !command.has_any(&["--requirement", "-r", "."])
            && !packages(command).iter().all(|package| is_fixed(package))
    });
}

/// Flags with a value behind.
const WITH_VALUE: [&str; 26] = [
    "abi",
    "b",
    "build",
    "e",
    "editable",
    "extra-index-url",
    "f",
    "find-links",
    "i",
    "index-url",
    "implementation",
    "no-binary",
    "only-binary",
    "platform",
    "prefix",
    "progress-bar",
    "proxy",
    "python",
    "python-version",
    "root",
    "root-user-action",
    "src",
    "t",
    "target",
    "trusted-host",
    "upgrade-strategy",
];

fn packages(command: &Command) -> Vec<&str> {
    let words = command.operands(&WITH_VALUE);
    let behind = words.iter().position(|word| *word == "install").map_or(words.len(), |at| at + 1);
    words[behind..].iter().copied().filter(|word| *word != "install").collect()
}

fn is_fixed(package: &str) -> bool {
    let scheme = package.split([':', '+']).next().unwrap_or_default();
    let is_repository = ["git", "hg", "svn", "bzr"].contains(&scheme) && package.contains("://");
    let compares =
        package.contains(['<', '>']) || ["==", "!=", "~="].iter().any(|sign| package.contains(sign));
    compares
        || (is_repository && package.contains('@'))
        || (!is_repository && package.contains('/'))
        || package.ends_with(".whl")
        || package.ends_with(".tar.gz")
}
