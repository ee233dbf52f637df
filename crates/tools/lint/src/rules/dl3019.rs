//! DL3019: apk keeps no index.

use super::runs;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::{View, has_mount};

pub(super) const RULE: Rule = Rule { id: "DL3019", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "The index stays in the layer: write `apk add --no-cache`";
    runs(view, told, message, |run, script| {
        !has_mount(run, "/var/cache/apk")
            && script.any(|command| command.is("apk", &["add"]) && !command.has_flag(&["no-cache"]))
    });
}
