//! DL3026: images come from registries that are trusted.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::text::unquoted;
use crate::view::View;
use dockerfile::ast::Kind;
use std::collections::BTreeSet;

pub(super) const RULE: Rule = Rule { id: "DL3026", severity: Severity::Error, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    let trusted = &settings.trusted_registries;
    if trusted.is_empty() {
        return;
    }
    let message = || "The image comes from a registry that is not trusted here".to_owned();
    for (index, base) in view.stages.iter().enumerate() {
        let is_known =
            base.parent.is_some() || view.stages[..index].iter().any(|s| s.alias() == Some(base.name));
        if !is_known && !is_trusted(trusted, base.registry, base.name) {
            told.push((base.line, message()));
        }
    }
    for item in &view.items {
        let sources: Vec<String> = match item.kind() {
            Some(Kind::Copy(copy)) => copy.from.iter().map(|from| unquoted(&from.text)).collect(),
            Some(Kind::Run(run)) => run
                .mounts
                .iter()
                .filter_map(|mount| mount.plain().ok().and_then(|mount| mount.from))
                .collect(),
            _ => continue,
        };
        let stages = &view.stages[..item.stage.map_or(0, |index| index + 1)];
        let is_stage = |name: &str| {
            stages.iter().any(|base| base.alias() == Some(&name.to_lowercase()))
                || name.parse::<usize>().is_ok()
        };
        for source in sources.iter().filter(|source| !is_stage(source)) {
            let (registry, name) = parts(source);
            if !is_trusted(trusted, registry, name) {
                told.push((item.line, message()));
            }
        }
    }
}

fn parts(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, image),
    }
}

fn is_trusted(trusted: &BTreeSet<String>, registry: Option<&str>, name: &str) -> bool {
    let allows = |registry: &str| trusted.iter().any(|pattern| matches(pattern, registry));
    match registry {
        Some(registry) => allows(registry),
        None => name == "scratch" || allows("docker.io") || allows("hub.docker.com"),
    }
}

/// A star stands for anything, at the beginning or at the end.
fn matches(pattern: &str, registry: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => registry.ends_with(end),
        (None, Some(start)) => registry.starts_with(start),
        (None, None) => registry == pattern,
    }
}
