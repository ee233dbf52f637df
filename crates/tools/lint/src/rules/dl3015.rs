//! DL3015: no more packages than needed.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3015", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message =
        "Packages come along that nobody asked for: write `apt-get install --no-install-recommends`";
    commands(view, told, message, |command| {
        let plain = command.has_flag(&["no-install-recommends"])
            || command.has_any(&["APT::Install-Recommends=false"]);
        command.is("apt-get", &["install"]) && !plain
    });
}
