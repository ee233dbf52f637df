//! DL3021: several sources go to a directory.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3021", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for (item, copy) in view.copies() {
        if copy.sources.len() > 1 && !unquoted(&copy.dest.text).ends_with('/') {
            told.push((item.line, "With several sources the destination of COPY must end with /".into()));
        }
    }
}
