//! DL4004: one ENTRYPOINT a stage.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL4004", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for line in view.repeated(|kind| matches!(kind, Kind::Entrypoint(_))) {
        told.push((line, "Of several ENTRYPOINT in a stage only the last one counts".into()));
    }
}
