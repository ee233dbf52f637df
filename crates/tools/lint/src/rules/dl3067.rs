//! DL3067: no stage is copied as a whole.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::{View, paths};

pub(super) const RULE: Rule = Rule { id: "DL3067", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for (item, copy) in view.copies().filter(|(_, copy)| copy.from.is_some()) {
        if unquoted(&copy.dest.text) == "/" && paths(copy).iter().any(|path| path == "/") {
            told.push((item.line, "The whole file system of a stage is copied; base the stage on it".into()));
        }
    }
}
