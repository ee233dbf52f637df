//! DL3044: ENV sees variables of earlier instructions only.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::references;
use crate::view::View;
use dockerfile::ast::Kind;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const RULE: Rule = Rule { id: "DL3044", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for item in &view.items {
        match item.kind() {
            Some(Kind::Arg(args)) => known.extend(args.iter().map(|arg| arg.name.clone())),
            Some(Kind::Env(pairs)) => {
                // Which pairs refer to a name: the first one, and another one if there is any.
                let mut users: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
                for (at, pair) in pairs.iter().enumerate() {
                    references(&pair.value).for_each(|name| users.entry(name).or_insert((at, at)).1 = at);
                }
                let others = |at: usize, name: &str| users.get(name).is_some_and(|used| *used != (at, at));
                let mut new = pairs.iter().enumerate().filter(|(_, pair)| !known.contains(&pair.key));
                if new.any(|(at, pair)| others(at, &pair.key)) {
                    let message = "A variable is not set yet within the ENV that sets it; use a second ENV";
                    told.push((item.line, message.into()));
                }
                known.extend(pairs.iter().map(|pair| pair.key.clone()));
            }
            _ => {}
        }
    }
}
