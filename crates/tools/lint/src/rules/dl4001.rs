//! DL4001: one program downloads.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule { id: "DL4001", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut seen: BTreeMap<Option<usize>, (bool, bool)> = BTreeMap::new();
    for item in &view.items {
        let Some((line, _, script)) = item.run() else { continue };
        let (curl, wget) = (script.uses("curl"), script.uses("wget"));
        let stage = seen.entry(item.stage).or_default();
        *stage = (stage.0 | curl, stage.1 | wget);
        if (curl || wget) && *stage == (true, true) {
            told.push((line, "Use wget or curl, but not both".into()));
        }
    }
}
