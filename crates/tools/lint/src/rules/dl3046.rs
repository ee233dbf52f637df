//! DL3046: useradd keeps its logs small.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3046", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "useradd with a high user id makes a huge sparse log that the layer stores in full: write `useradd -l`";
    commands(view, told, message, |command| {
        let long = |flag: &str| command.values_of(flag).iter().any(|id| id.len() > 5);
        command.name == "useradd" && !command.has_flag(&["l", "no-log-init"]) && (long("u") || long("uid"))
    });
}
