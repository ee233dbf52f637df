//! DL3020: files are copied by COPY.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::is_archive;
use crate::view::{View, paths};
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3020", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in &view.items {
        let Some(Kind::Add(add)) = item.kind() else { continue };
        if paths(add).iter().any(|path| !is_archive(path) && !is_remote(path)) {
            told.push((
                item.line,
                "COPY brings files and directories in; ADD is for archives and URLs".into(),
            ));
        }
    }
}

fn is_remote(path: &str) -> bool {
    ["https://", "http://", "git://", "ssh://", "git@"].iter().any(|start| path.starts_with(start))
}
