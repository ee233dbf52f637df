//! DL3041: packages of dnf have versions.

use super::packages;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3041", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in dnf install: write `dnf install -y <package>-<version>`";
    packages::check(view, told, message, &["dnf", "microdnf"], &["module", "group"]);
}
