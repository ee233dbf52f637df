//! DL3024: stages have names of their own.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use std::collections::BTreeSet;

pub(super) const RULE: Rule = Rule { id: "DL3024", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut seen = BTreeSet::new();
    for base in &view.stages {
        if base.alias().is_some_and(|name| !seen.insert(name)) {
            told.push((base.line, "Names of stages must be unique".into()));
        }
    }
}
