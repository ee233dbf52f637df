//! DL3004: steps are root already.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3004", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "sudo has no terminal and no session here; switch with USER, or with a tool such as gosu";
    commands(view, told, message, |command| command.name == "sudo");
}
