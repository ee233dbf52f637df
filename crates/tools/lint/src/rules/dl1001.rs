//! DL1001: no comment silences rules.

use crate::config::Settings;
use crate::pragma::is_inline;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL1001", severity: Severity::Ignore, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for comment in view.comments.iter().filter(|comment| is_inline(&comment.text)) {
        let message = "A comment silences rules for the instruction below; mend what they say instead";
        told.push((comment.line, message.into()));
    }
}
