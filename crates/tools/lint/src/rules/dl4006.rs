//! DL4006: a pipe fails with any of its commands.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::{View, What};
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL4006", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut safe = false;
    for item in &view.items {
        match item.what {
            What::From(_) => safe = false,
            What::Other(Kind::Shell(argv)) => safe = is_safe(argv),
            What::Other(_) => {}
        }
        let Some((line, _, script)) = item.run() else { continue };
        if script.has_pipes && !safe {
            let message = "The exit code of a pipe is its last command's: set SHELL with `-o pipefail` before, \
                           as in `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` (/bin/ash with busybox)";
            told.push((line, message.into()));
        }
    }
}

/// A shell that was told, or that is no shell of Unix.
fn is_safe(argv: &[String]) -> bool {
    let Some(program) = argv.first() else { return false };
    let name = program.rsplit('/').next().unwrap_or(program);
    let other = ["pwsh", "powershell", "cmd"].iter().any(|shell| program.starts_with(shell));
    let short = |arg: &String| arg.starts_with('-') && !arg.starts_with("--") && arg.contains('o');
    other
        || (["bash", "zsh", "ash"].contains(&name)
            && argv.iter().any(short)
            && argv.iter().any(|arg| arg == "pipefail"))
}
