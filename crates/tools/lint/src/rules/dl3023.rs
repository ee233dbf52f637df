//! DL3023: no stage copies from itself.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3023", severity: Severity::Error, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for (item, copy) in view.copies() {
        let own = item.stage.and_then(|index| view.stages[index].alias());
        let from = copy.from.as_ref().map(|from| unquoted(&from.text).to_lowercase());
        if own.is_some() && from.as_deref() == own {
            told.push((item.line, "COPY --from cannot copy from its own stage".into()));
        }
    }
}
