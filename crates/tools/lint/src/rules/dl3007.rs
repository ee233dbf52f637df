//! DL3007: a tag says which version.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3007", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for base in view.stages.iter().filter(|base| base.tag == Some("latest") && !base.has_digest) {
        let message = "The tag latest is another image tomorrow; name the tag of a release";
        told.push((base.line, message.into()));
    }
}
