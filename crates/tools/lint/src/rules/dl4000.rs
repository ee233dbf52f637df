//! DL4000: a label names the author.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL4000", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in view.items.iter().filter(|item| matches!(item.kind(), Some(Kind::Maintainer(_)))) {
        told.push((item.line, "MAINTAINER is deprecated: use a label".into()));
    }
}
