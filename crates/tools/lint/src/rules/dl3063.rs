//! DL3063: stages have no reserved name.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3063", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for base in view.stages.iter().filter(|base| matches!(base.alias(), Some("scratch" | "context"))) {
        told.push((base.line, "scratch and context are no names for stages".into()));
    }
}
