//! DL3060: yarn's cache is emptied.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::view::{View, has_mount};

pub(super) const RULE: Rule = Rule { id: "DL3060", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in view.all() {
        let Some((line, run, script)) = item.run() else { continue };
        let installs = |command: &Command| command.is("yarn", &["install"]);
        let cleans = |command: &Command| command.is("yarn", &["cache", "clean"]);
        let forgets = if script.any(cleans) {
            script.follows(cleans, installs)
        } else {
            !has_mount(run, ".cache/yarn")
        };
        if script.any(installs) && forgets && view.is_shipped(item) {
            told.push((line, "yarn's cache stays in the layer: end with `yarn cache clean`".into()));
        }
    }
}
