//! DL3050: images have no other labels.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule { id: "DL3050", severity: Severity::Info, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    if !settings.strict_labels {
        return;
    }
    // Once for each instruction, whatever it lists.
    let mut others: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (line, key, _) in view.labels().filter(|(_, key, _)| !settings.label_schema.contains_key(key)) {
        others.entry(line).or_default().push(format!("`{key}`"));
    }
    told.extend(others.into_iter().map(|(line, keys)| match keys.as_slice() {
        [key] => (line, format!("Label {key} is none of those that are allowed")),
        keys => (line, format!("Labels {} are none of those that are allowed", keys.join(", "))),
    }));
}
