//! DL3049: images have the labels that are required.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::View;
use dockerfile::ast::Kind;

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
    let named = |name: &str| view.stages.iter().position(|base| base.alias() == Some(name));
    for (index, base) in view.stages.iter().enumerate() {
        has[index] = base.parent.is_some_and(|parent| has[parent]);
        for item in view.items.iter().filter(|item| item.stage == Some(index)) {
            match item.kind() {
                Some(Kind::Label(pairs)) if pairs.iter().any(|pair| unquoted(&pair.key) == label) => {
                    has[index] = true;
                    if let (None, Some(parent)) = (base.alias(), base.parent) {
                        lends[parent] = true;
                    }
                }
                Some(Kind::Copy(copy)) => {
                    let from = copy.from.as_ref().map(|from| unquoted(&from.text).to_lowercase());
                    if let Some(source) = from.and_then(|name| named(&name)) {
                        lends[source] = true;
                    }
                }
                _ => {}
            }
        }
    }
    let stages = view.stages.iter().enumerate().filter(|(index, _)| !has[*index] && !lends[*index]);
    stages.map(|(_, base)| base.line).collect()
}
