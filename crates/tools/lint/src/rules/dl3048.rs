//! DL3048: keys of labels are well formed.

use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3048", severity: Severity::Style, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let mut lines: Vec<u32> =
        view.labels().filter(|(_, key, _)| !is_valid(key)).map(|(line, _, _)| line).collect();
    lines.dedup();
    told.extend(lines.into_iter().map(|line| (line, "The key of a label is not valid".into())));
}

fn is_valid(key: &str) -> bool {
    let reserved = ["com.docker.", "io.docker.", "org.dockerproject."];
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_/".contains(c))
        && !reserved.iter().any(|namespace| key.starts_with(namespace))
        && !key.contains("..")
        && !key.contains("--")
}
