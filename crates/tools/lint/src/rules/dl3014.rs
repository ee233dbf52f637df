//! DL3014: apt-get does not ask.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3014", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "apt-get waits for an answer that nobody gives: write `apt-get install -y`";
    commands(view, told, message, |command| {
        let agrees = command.has_flag(&["y", "yes", "qq", "assume-yes"])
            || command.count_flag("q") == 2
            || command.count_flag("quiet") == 2
            || command.has_any(&["-q=2"]);
        command.is("apt-get", &["install"]) && !agrees
    });
}
