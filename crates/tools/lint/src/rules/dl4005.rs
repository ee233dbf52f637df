//! DL4005: SHELL sets the shell.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL4005", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Use SHELL to change the shell of steps";
    commands(view, told, message, |command| command.is("ln", &["/bin/sh"]));
}
