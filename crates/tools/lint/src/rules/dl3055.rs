//! DL3055: a label is a commit.

use super::labels;
use crate::config::{LabelType, Settings};
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3055", severity: Severity::Warning, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    labels(view, settings, told, LabelType::Hash, "is no commit's hash", is_hash);
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 7 | 40) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
