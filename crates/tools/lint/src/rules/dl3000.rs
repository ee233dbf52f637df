//! DL3000: a working directory is absolute.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::{has_drive, unquoted};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3000", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in &view.items {
        let Some(Kind::Workdir(word)) = item.kind() else { continue };
        let path = unquoted(&word.text);
        if !path.starts_with(['/', '$']) && !has_drive(&path) {
            told.push((item.line, "WORKDIR should be an absolute path".into()));
        }
    }
}
