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
    let below = |index: usize| view.ancestors(Some(index));
    for (index, base) in view.stages.iter().enumerate() {
        let inherited = below(index).iter().any(|stage| has[*stage]);
        let later = (0..has.len()).any(|other| has[other] && below(other).contains(&index));
        if !inherited && !later {
            told.push((base.line, "There is no HEALTHCHECK".into()));
        }
    }
}
