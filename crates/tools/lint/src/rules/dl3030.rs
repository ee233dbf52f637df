//! DL3030: yum does not ask.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3030", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "yum waits for an answer that nobody gives: write `yum install -y`";
    commands(view, told, message, |command| {
        command.is("yum", &["install", "groupinstall", "localinstall"])
            && !command.has_flag(&["y", "assumeyes"])
    });
}
