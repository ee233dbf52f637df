//! DL3003: a working directory is set by WORKDIR.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3003", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for (line, _, script) in view.items.iter().filter_map(|item| item.run()) {
        if script.uses("cd") {
            told.push((line, "Use WORKDIR to change the directory, `cd` holds for one RUN only".into()));
        }
    }
}
