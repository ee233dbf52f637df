//! DL3051: required labels have a value.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3051", severity: Severity::Warning, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    let required = view.labels().filter(|(_, key, _)| settings.label_schema.contains_key(key));
    let empty = required.filter(|(_, _, value)| value.is_empty());
    told.extend(empty.map(|(line, key, _)| (line, format!("Label `{key}` is empty"))));
}
