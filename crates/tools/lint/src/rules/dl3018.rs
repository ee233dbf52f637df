//! DL3018: packages of apk have versions.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3018", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in apk add: write `apk add <package>=<version>`";
    commands(view, told, message, |command| {
        let words = command.operands(&["t", "virtual", "repository", "X"]);
        let is_fixed = |package: &str| package.contains(['=', '~', '<', '>']) || package.ends_with(".apk");
        command.is("apk", &["add"]) && words.iter().any(|word| *word != "add" && !is_fixed(word))
    });
}
