//! DL3001: programs that make no sense while an image is built.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3001", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "This program makes no sense in a build: free, kill, mount, ps, service, shutdown, ssh, top and vim work on a machine that runs";
    commands(view, told, message, |command| POINTLESS.contains(&command.name.as_str()));
}

const POINTLESS: [&str; 9] = ["free", "kill", "mount", "ps", "service", "shutdown", "ssh", "top", "vim"];
