//! DL3022: COPY --from names a stage above.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3022", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    for (item, copy) in view.copies() {
        let Some(from) = &copy.from else { continue };
        let name = unquoted(&from.text).to_lowercase();
        let stages = &view.stages[..item.stage.map_or(0, |index| index + 1)];
        let is_stage = stages.iter().any(|base| base.alias() == Some(&name))
            || name.parse::<usize>().is_ok_and(|number| number < stages.len());
        if !is_stage && !name.contains(':') {
            told.push((item.line, "COPY --from should name a stage that is defined above".into()));
        }
    }
}
