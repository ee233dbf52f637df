//! DL3006: base images have a tag.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3006", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for base in &view.stages {
        let is_known = base.name == "scratch" || base.name.starts_with('$') || base.parent.is_some();
        if !is_known && base.tag.is_none() && !base.has_digest {
            told.push((
                base.line,
                format!("The version of the base image is missing: write `{}:<tag>`", base.name),
            ));
        }
    }
}
