//! Versions of packages of yum and dnf, which stand in the package's name.

use crate::rule::Told;
use crate::shell::Command;
use crate::text::unquoted;
use crate::view::{Item, View, What};
use dockerfile::ast::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// Tells each `RUN` that installs something without a version by one of `programs`. Words of `apart` are verbs for things
/// that are no packages.
pub(super) fn check(view: &View<'_>, told: &mut Vec<Told>, message: &str, programs: &[&str], apart: &[&str]) {
    let mut args: BTreeSet<String> = BTreeSet::new();
    let mut stages: BTreeMap<Option<usize>, BTreeSet<String>> = BTreeMap::new();
    for item in &view.items {
        match item.what {
            What::From(_) => {
                let parent = item.stage.and_then(|index| view.stages[index].parent);
                let inherited = parent.and_then(|parent| stages.get(&Some(parent))).cloned();
                stages.insert(item.stage, inherited.unwrap_or_default());
            }
            What::Other(Kind::Arg(declared)) => args.extend(declared.iter().map(|arg| arg.name.clone())),
            What::Other(Kind::Env(pairs)) => {
                let keys = pairs.iter().map(|pair| unquoted(&pair.key));
                stages.entry(item.stage).or_default().extend(keys);
            }
            What::Other(_) => {}
        }
        let known = |name: &str| {
            args.contains(name) || stages.get(&item.stage).is_some_and(|names| names.contains(name))
        };
        tell(item, told, message, programs, apart, &known);
    }
    for item in &view.triggers {
        tell(item, told, message, programs, apart, &|_| false);
    }
}

fn tell(
    item: &Item<'_>,
    told: &mut Vec<Told>,
    message: &str,
    programs: &[&str],
    apart: &[&str],
    known: &dyn Fn(&str) -> bool,
) {
    let Some((line, _, script)) = item.run() else { return };
    let open = |command: &Command| {
        let installs = programs.iter().any(|program| command.is(program, &["install"]));
        if !installs || (command.has_any(apart) && !command.has_any(&["module"])) {
            return false;
        }
        let words = command.operands(&[]);
        let mut names = words.iter().filter(|word| !matches!(**word, "install" | "module"));
        match command.has_any(&["module"]) {
            true => names.any(|name| !name.contains(':')),
            false => names.any(|name| !is_fixed(name, known)),
        }
    };
    if script.any(open) {
        told.push((line, message.into()));
    }
}

fn is_fixed(package: &str, known: &dyn Fn(&str) -> bool) -> bool {
    let Some((_, version)) = package.split_once('-') else { return false };
    if package.ends_with(".rpm") {
        return true;
    }
    if package.contains('$') {
        let mut names = package.split("${").skip(1).filter_map(|rest| rest.split('}').next());
        return names.any(known);
    }
    let is_version = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || ".~^_:+".contains(c));
    version.split('-').all(is_version)
        && version.split('-').any(|part| part.starts_with(|c: char| c.is_ascii_digit()))
}
