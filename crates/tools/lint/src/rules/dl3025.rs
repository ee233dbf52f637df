//! DL3025: commands are in JSON form.

use super::kinds;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::{Command, Healthcheck, Kind};

pub(super) const RULE: Rule = Rule { id: "DL3025", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Write the command of CMD, ENTRYPOINT and HEALTHCHECK in JSON form";
    kinds(view, told, message, |kind| {
        let command = match kind {
            Kind::Cmd(command) | Kind::Entrypoint(command) => command,
            Kind::Healthcheck(Healthcheck::Test { command, .. }) => command,
            _ => return false,
        };
        matches!(command, Command::Shell(_))
    });
}
