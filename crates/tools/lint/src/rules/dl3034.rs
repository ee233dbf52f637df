//! DL3034: zypper does not ask.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3034", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "zypper waits for an answer that nobody gives: write `zypper install -y`";
    commands(view, told, message, |command| {
        let verbs = ["install", "in", "remove", "rm", "source-install", "si", "patch"];
        command.is("zypper", &verbs) && !command.has_flag(&["non-interactive", "n", "no-confirm", "y"])
    });
}
