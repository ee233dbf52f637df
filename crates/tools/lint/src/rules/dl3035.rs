//! DL3035: a build changes no distribution.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3035", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "zypper dist-upgrade makes another distribution of the base image; take a newer base image";
    commands(view, told, message, |command| command.is("zypper", &["dist-upgrade", "dup"]));
}
