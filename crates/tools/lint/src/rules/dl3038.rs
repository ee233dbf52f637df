//! DL3038: dnf does not ask.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3038", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "dnf waits for an answer that nobody gives: write `dnf install -y`";
    commands(view, told, message, |command| {
        ["dnf", "microdnf"].iter().any(|dnf| command.is(dnf, &["install", "groupinstall", "localinstall"]))
            && !command.has_flag(&["y", "assumeyes"])
    });
}
