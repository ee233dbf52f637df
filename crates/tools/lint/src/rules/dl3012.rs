//! DL3012: one HEALTHCHECK a stage.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3012", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for line in view.repeated(|kind| matches!(kind, Kind::Healthcheck(_))) {
        told.push((line, "Of several HEALTHCHECK in a stage only the last one counts".into()));
    }
}
