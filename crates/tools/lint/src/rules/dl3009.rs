//! DL3009: lists of packages are removed after an update.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::{View, has_mount};

pub(super) const RULE: Rule = Rule { id: "DL3009", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for item in view.all() {
        let Some((line, run, script)) = item.run() else { continue };
        let updates = script.any(|c| ["apt", "apt-get", "aptitude"].iter().any(|apt| c.is(apt, &["update"])));
        let cleans = script.any(|c| c.name == "rm" && c.args.iter().any(|arg| arg.starts_with(LISTS)));
        let mounted =
            has_mount(run, LISTS) || (has_mount(run, "/var/lib/apt") && has_mount(run, "/var/cache/apt"));
        if updates && !cleans && !mounted && view.is_shipped(item) {
            let message = "The lists of packages stay in the layer: end with `rm -rf /var/lib/apt/lists/*`";
            told.push((line, message.into()));
        }
    }
}

const LISTS: &str = "/var/lib/apt/lists";
