//! DL3027: apt is for people.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3027", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "apt is for people at a terminal; use apt-get or apt-cache";
    commands(view, told, message, |command| command.name == "apt");
}
