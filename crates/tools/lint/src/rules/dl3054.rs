//! DL3054: a label is a licence.

use super::labels;
use crate::config::{LabelType, Settings};
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3054", severity: Severity::Warning, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    labels(view, settings, told, LabelType::Spdx, "is no licence's id of spdx.org", |id| {
        spdx::license_id(id).is_some()
    });
}
