//! DL3050: images have no other labels.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3050", severity: Severity::Info, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    if !settings.strict_labels {
        return;
    }
    let other = view.labels().filter(|(_, key, _)| !settings.label_schema.contains_key(key));
    told.extend(
        other.map(|(line, key, _)| (line, format!("Label `{key}` is none of those that are allowed"))),
    );
}
