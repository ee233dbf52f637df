//! DL3044: ENV sees variables of earlier instructions only.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::refers_to;
use crate::view::View;
use dockerfile::ast::Kind;
use std::collections::BTreeSet;

pub(super) const RULE: Rule = Rule { id: "DL3044", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for item in &view.items {
        match item.kind() {
            Some(Kind::Arg(args)) => known.extend(args.iter().map(|arg| arg.name.clone())),
            Some(Kind::Env(pairs)) => {
                let refers = |at: usize, name: &str| {
                    let others = pairs.iter().enumerate().filter(|(other, _)| *other != at);
                    others.into_iter().any(|(_, pair)| refers_to(&pair.value, name))
                };
                let mut new = pairs.iter().enumerate().filter(|(_, pair)| !known.contains(&pair.key));
                if new.any(|(at, pair)| refers(at, &pair.key)) {
                    let message = "A variable is not set yet within the ENV that sets it; use a second ENV";
                    told.push((item.line, message.into()));
                }
                known.extend(pairs.iter().map(|pair| pair.key.clone()));
            }
            _ => {}
        }
    }
}
