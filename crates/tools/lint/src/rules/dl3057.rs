//! DL3057: images have a health check.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3057", severity: Severity::Ignore, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut has = vec![false; view.stages.len()];
    for item in &view.items {
        if let (Some(index), Some(Kind::Healthcheck(_))) = (item.stage, item.kind()) {
            has[index] = true;
        }
    }
    // A base stands above the stages that are from it: once down for what they inherit, once up for what bases lead to.
    let (mut inherits, mut leads) = (has.clone(), has);
    for (index, base) in view.stages.iter().enumerate() {
        inherits[index] |= base.parent.is_some_and(|parent| inherits[parent]);
    }
    for (index, base) in view.stages.iter().enumerate().rev() {
        if let Some(parent) = base.parent {
            leads[parent] |= leads[index];
        }
    }
    for (index, base) in view.stages.iter().enumerate() {
        if !inherits[index] && !leads[index] {
            told.push((base.line, "There is no HEALTHCHECK".into()));
        }
    }
}
