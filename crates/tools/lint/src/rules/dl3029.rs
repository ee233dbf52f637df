//! DL3029: the platform is chosen by who builds.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3029", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for base in &view.stages {
        let Some(platform) = &base.stage.from.platform else { continue };
        if !platform.text.contains("BUILDPLATFORM") && !platform.text.contains("TARGETPLATFORM") {
            told.push((base.line, "FROM --platform decides what the build's --platform should".into()));
        }
    }
}
