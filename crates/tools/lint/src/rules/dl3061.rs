//! DL3061: a file begins with FROM, ARG or a comment.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3061", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in view.items.iter().filter(|item| item.stage.is_none()) {
        if !matches!(item.kind(), Some(Kind::Arg(_))) {
            told.push((item.line, "A Dockerfile begins with FROM, or with ARG for what FROM needs".into()));
        }
    }
}
