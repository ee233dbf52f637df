//! DL3032: yum's cache is emptied.

use super::runs;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3032", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "yum's cache stays in the layer: end with `yum clean all`";
    runs(view, told, message, |_, script| {
        let installs = |command: &Command| command.is("yum", &["install"]);
        let cleans = |command: &Command| {
            command.is("yum", &["clean", "all"]) || command.is("rm", &["/var/cache/yum/*", "/var/cache/yum"])
        };
        script.any(installs) && !script.follows(installs, cleans)
    });
}
