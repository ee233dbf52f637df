//! DL3045: a relative destination needs a WORKDIR.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::{has_drive, unquoted};
use crate::view::{View, What};
use dockerfile::ast::Kind;
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule { id: "DL3045", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut set: BTreeMap<Option<usize>, bool> = BTreeMap::new();
    for item in &view.items {
        match item.what {
            What::From(_) => {
                let parent = item.stage.and_then(|index| view.stages[index].parent);
                let inherited = parent.is_some_and(|parent| set.get(&Some(parent)) == Some(&true));
                set.insert(item.stage, inherited);
            }
            What::Other(Kind::Workdir(_)) => {
                set.insert(item.stage, true);
            }
            What::Other(Kind::Copy(copy)) if set.get(&item.stage) != Some(&true) => {
                let dest = unquoted(&copy.dest.text);
                if !dest.starts_with(['/', '$']) && !has_drive(&dest) {
                    let message = "COPY to a relative path, and no WORKDIR says where that is";
                    told.push((item.line, message.into()));
                }
            }
            What::Other(_) => {}
        }
    }
}
