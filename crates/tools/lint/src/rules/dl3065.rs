//! DL3065: stages are for the target's platform anyway.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3065", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for base in &view.stages {
        let platform = base.stage.from.platform.as_ref().map(|platform| platform.text.as_str());
        if matches!(platform, Some("$TARGETPLATFORM" | "${TARGETPLATFORM}")) {
            told.push((base.line, "A stage is for $TARGETPLATFORM without being told".into()));
        }
    }
}
