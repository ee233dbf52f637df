//! DL3037: packages of zypper have versions.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3037", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in zypper install: write `zypper install -y <package>=<version>`";
    commands(view, told, message, |command| {
        let is_fixed = |package: &str| package.contains(['=', '<', '>']) || package.ends_with(".rpm");
        let words = command.operands(&[]);
        let mut packages = words.iter().filter(|word| !matches!(**word, "install" | "in"));
        command.is("zypper", &["install", "in"]) && packages.any(|package| !is_fixed(package))
    });
}
