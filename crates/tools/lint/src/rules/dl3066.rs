//! DL3066: users are numbers, which every system knows.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::{references, unquoted};
use crate::view::View;
use dockerfile::ast::Kind;
use std::collections::BTreeSet;

pub(super) const RULE: Rule = Rule { id: "DL3066", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut args: BTreeSet<&str> = BTreeSet::new();
    for item in &view.items {
        match item.kind() {
            Some(Kind::Arg(declared)) => args.extend(declared.iter().map(|arg| arg.name.as_str())),
            Some(Kind::User(word)) => {
                let user = unquoted(&word.text);
                let id = user.split(':').next().unwrap_or_default();
                let is_number = id.bytes().all(|b| b.is_ascii_digit());
                if !is_number && !references(&user).any(|name| args.contains(name)) {
                    told.push((
                        item.line,
                        "Outside of the image nobody knows this user: write its number".into(),
                    ));
                }
            }
            _ => {}
        }
    }
}
