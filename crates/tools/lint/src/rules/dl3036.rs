//! DL3036: zypper's cache is emptied.

use super::runs;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::view::{View, has_mount};

pub(super) const RULE: Rule = Rule { id: "DL3036", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "zypper's cache stays in the layer: end with `zypper clean`";
    runs(view, told, message, |run, script| {
        let installs = |command: &Command| command.is("zypper", &["install", "in"]);
        let cleans = |command: &Command| command.is("zypper", &["clean", "cc"]);
        script.any(installs) && !has_mount(run, "/var/cache/zypp") && !script.follows(installs, cleans)
    });
}
