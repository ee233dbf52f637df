//! DL3016: packages of npm have versions.

use super::commands;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3016", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "Versions are missing in npm install: write `npm install <package>@<version>`";
    commands(view, told, message, |command| {
        let words = command.operands(&["loglevel", "registry"]);
        command.name == "npm"
            && words.first() == Some(&"install")
            && words[1..].iter().any(|package| !is_fixed(package))
    });
}

fn is_fixed(package: &str) -> bool {
    if ["git://", "git+ssh://", "git+http://", "git+https://"].iter().any(|start| package.starts_with(start))
    {
        return package.contains('#');
    }
    let is_file = [".tar", ".tar.gz", ".tgz"].iter().any(|end| package.ends_with(end));
    let is_folder = ["/", "./", "../", "~/"].iter().any(|start| package.starts_with(start));
    let name = match package.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').map_or("", |(_, name)| name),
        None => package,
    };
    is_file || is_folder || name.contains('@')
}
