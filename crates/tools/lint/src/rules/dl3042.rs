//! DL3042: pip keeps no cache.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::text::unquoted;
use crate::view::{Item, View, What, has_mount};
use dockerfile::ast::Kind;
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule { id: "DL3042", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut off: BTreeMap<Option<usize>, bool> = BTreeMap::new();
    for item in &view.items {
        match item.what {
            What::From(_) => {
                let parent = item.stage.and_then(|index| view.stages[index].parent);
                let inherited = parent.is_some_and(|parent| off.get(&Some(parent)) == Some(&true));
                off.insert(item.stage, inherited);
            }
            What::Other(Kind::Env(pairs)) => {
                let mut pairs = pairs.iter().map(|pair| (unquoted(&pair.key), unquoted(&pair.value)));
                if pairs.any(|(key, value)| key == VARIABLE && is_true(&value)) {
                    off.insert(item.stage, true);
                }
            }
            What::Other(_) => {}
        }
        if off.get(&item.stage) != Some(&true) {
            keeps(item, told);
        }
    }
    view.triggers.iter().for_each(|item| keeps(item, told));
}

const VARIABLE: &str = "PIP_NO_CACHE_DIR";

fn is_true(text: &str) -> bool {
    ["1", "true", "True", "TRUE", "on", "On", "ON", "yes", "Yes", "YES"]
        .iter()
        .any(|yes| text.starts_with(yes))
}

fn keeps(item: &Item<'_>, told: &mut Vec<Told>) {
    let Some((line, run, script)) = item.run() else { return };
    let set = script.text.split_once(VARIABLE).and_then(|(_, rest)| rest.strip_prefix('='));
    let wraps = |c: &Command| {
        ["pipx", "pipenv"].iter().any(|wrapper| c.name.contains(wrapper) || c.has_run(&["-m", wrapper]))
    };
    let forgets = |c: &Command| c.is_pip_install() && !c.has_any(&["--no-cache-dir"]) && !wraps(c);
    if script.any(forgets) && !set.is_some_and(is_true) && !has_mount(run, ".cache/pip") {
        told.push((line, "pip's cache stays in the layer: write `pip install --no-cache-dir`".into()));
    }
}
