//! DL3049: images have the labels that are required.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::View;
use dockerfile::ast::Kind;
use std::collections::HashMap;

pub(super) const RULE: Rule = Rule { id: "DL3049", severity: Severity::Info, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    for label in settings.label_schema.keys() {
        for line in missing(view, label) {
            told.push((line, format!("Label `{label}` is missing")));
        }
    }
}

/// The stages without it: none that has it, is based on one that has it, or only lends its files.
fn missing(view: &View<'_>, label: &str) -> Vec<u32> {
    let mut has = vec![false; view.stages.len()];
    let mut lends = vec![false; view.stages.len()];
    let mut named = HashMap::new();
    for (index, base) in view.stages.iter().enumerate() {
        if let Some(alias) = base.alias() {
            named.entry(alias).or_insert(index);
        }
    }
    // In the order of the file, a base is through before what is from it begins.
    for item in &view.items {
        let Some(index) = item.stage else { continue };
        let base = &view.stages[index];
        match item.kind() {
            None => has[index] = base.parent.is_some_and(|parent| has[parent]),
            Some(Kind::Label(pairs)) if pairs.iter().any(|pair| unquoted(&pair.key) == label) => {
                has[index] = true;
                if let (None, Some(parent)) = (base.alias(), base.parent) {
                    lends[parent] = true;
                }
            }
            Some(Kind::Copy(copy)) => {
                let from = copy.from.as_ref().map(|from| unquoted(&from.text).to_lowercase());
                if let Some(source) = from.and_then(|name| named.get(name.as_str())) {
                    lends[*source] = true;
                }
            }
            _ => {}
        }
    }
    let stages = view.stages.iter().enumerate().filter(|(index, _)| !has[*index] && !lends[*index]);
    stages.map(|(_, base)| base.line).collect()
}
