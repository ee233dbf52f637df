//! DL4003: one CMD a stage.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL4003", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for line in view.repeated(|kind| matches!(kind, Kind::Cmd(_))) {
        told.push((line, "Of several CMD in a stage only the last one counts".into()));
    }
}
