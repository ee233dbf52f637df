//! DL3002: the last user of a stage is not root.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::View;
use dockerfile::ast::Kind;
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule { id: "DL3002", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut last: BTreeMap<Option<usize>, u32> = BTreeMap::new();
    for item in &view.items {
        let Some(Kind::User(word)) = item.kind() else { continue };
        let user = unquoted(&word.text);
        if matches!(user.split(':').next(), Some("root" | "0")) {
            last.insert(item.stage, item.line);
        } else {
            last.remove(&item.stage);
        }
    }
    for line in last.into_values() {
        told.push((line, "The last USER of the stage should not be root".into()));
    }
}
