//! DL3043: ONBUILD triggers what may be triggered.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3043", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in &view.items {
        let Some(Kind::Onbuild(onbuild)) = item.kind() else { continue };
        let name = onbuild.trigger.kind.name();
        if ["ONBUILD", "FROM", "MAINTAINER"].contains(&name) {
            told.push((item.line, format!("ONBUILD cannot trigger {name}")));
        }
    }
}
