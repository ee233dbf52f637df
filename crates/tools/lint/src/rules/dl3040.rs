//! DL3040: dnf's cache is emptied.

use super::runs;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::view::{View, has_mount};

pub(super) const RULE: Rule = Rule { id: "DL3040", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "dnf's cache stays in the layer: end with `dnf clean all`";
    runs(view, told, message, |run, script| {
        let forgets = |dnf: &str| {
            let installs = |command: &Command| command.is(dnf, &CHANGES);
            let cleans = |command: &Command| {
                command.is(dnf, &["clean", "all"])
                    || (command.name == "rm"
                        && command.args.iter().any(|arg| CACHES.iter().any(|cache| arg.starts_with(cache))))
            };
            script.any(installs) && !script.follows(installs, cleans)
        };
        (forgets("dnf") || forgets("microdnf")) && !has_mount(run, "cache/libdnf5")
    });
}

const CHANGES: [&str; 8] =
    ["install", "in", "upgrade", "up", "upgrade-minimal", "up-min", "reinstall", "rei"];

const CACHES: [&str; 3] = ["/var/cache/libdnf5", "/var/cache/dnf", "/var/cache/yum"];
