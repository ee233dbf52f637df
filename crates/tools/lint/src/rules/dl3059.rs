//! DL3059: steps that belong together are one.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Run;

pub(super) const RULE: Rule = Rule { id: "DL3059", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut before: Option<(&Run, usize)> = None;
    for item in &view.items {
        let Some((line, run, script)) = item.run() else {
            before = None;
            continue;
        };
        // What a variable names is no command that anybody has joined.
        let count = script.commands.iter().filter(|command| !command.name.contains(['$', '`'])).count();
        match before {
            // Who joins commands in a step has thought about what belongs to it.
            Some((other, others)) if same_flags(run, other) && count < 2 && others < 2 => {
                told.push((line, "RUN follows RUN; one step may be enough".into()));
            }
            _ => before = Some((run, count)),
        }
    }
}

fn same_flags(a: &Run, b: &Run) -> bool {
    let mounts = |run: &Run| run.mounts.iter().map(|mount| mount.text.clone()).collect::<Vec<_>>();
    mounts(a) == mounts(b) && a.network == b.network && a.security == b.security
}
