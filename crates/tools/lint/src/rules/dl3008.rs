//! DL3008: packages of apt-get have versions.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3008", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in apt-get install: write `apt-get install <package>=<version>`";
    commands(view, told, message, |command| {
        let packages = command.operands(&["t", "target-release"]);
        let is_fixed = |package: &&str| package.contains(['=', '/']) || package.ends_with(".deb");
        command.is("apt-get", &["install"])
            && packages.iter().filter(|word| **word != "install").any(|package| !is_fixed(package))
    });
}
