//! DL3010: ADD unpacks archives itself.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::shell::Command;
use crate::text::{is_archive, unquoted};
use crate::view::{View, What, paths};
use dockerfile::ast::Kind;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const RULE: Rule = Rule { id: "DL3010", severity: Severity::Info, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut archives: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut unpacked: BTreeSet<u32> = BTreeSet::new();
    for item in &view.items {
        match item.what {
            What::From(_) => archives.clear(),
            What::Other(Kind::Copy(copy)) if copy.from.is_none() => {
                let dest = unquoted(&copy.dest.text);
                let names = if is_archive(&dest) { vec![dest] } else { paths(copy) };
                for name in names.iter().filter(|name| is_archive(name)) {
                    archives.entry(base_name(name).to_owned()).or_default().push(item.line);
                }
            }
            _ => {}
        }
        let Some((_, _, script)) = item.run() else { continue };
        for command in script.commands.iter().filter(|command| unpacks(command)) {
            // What was found once is not looked for again.
            let lines = command.args.iter().filter_map(|arg| archives.remove(base_name(arg)));
            unpacked.extend(lines.flatten());
        }
    }
    told.extend(unpacked.into_iter().map(|line| (line, "ADD unpacks archives into the image itself".into())));
}

fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

const UNPACKERS: [&str; 9] =
    ["unzip", "gunzip", "bunzip2", "unlzma", "unxz", "zgz", "uncompress", "zcat", "gzcat"];

fn unpacks(command: &Command) -> bool {
    let tar = |arg: &String| {
        matches!(arg.as_str(), "--extract" | "--get")
            || (arg.starts_with('-') && !arg.starts_with("--") && arg.contains('x'))
    };
    (command.name == "tar" && command.args.iter().any(tar)) || UNPACKERS.contains(&command.name.as_str())
}
