//! DL3047: wget draws no progress.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3047", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "wget fills the log with its progress: write `wget --progress=dot:giga`, or `-q` or `-nv`";
    commands(view, told, message, |command| {
        let quiet = ["progress", "q", "quiet", "o", "output-file", "a", "append-output", "no-verbose"];
        command.name == "wget" && !command.has_flag(&quiet) && !command.has_any(&["-nv"])
    });
}
