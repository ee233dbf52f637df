//! DL3052: a label is a URL.

use super::labels;
use crate::config::{LabelType, Settings};
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3052", severity: Severity::Warning, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    labels(view, settings, told, LabelType::Url, "is no valid URL", is_url);
}

/// An absolute URI: a scheme, and nothing that must be written as `%XX`.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let starts = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    let escapes = rest.match_indices('%').all(|(at, _)| {
        rest.get(at + 1..at + 3).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    starts
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && rest.chars().all(plain)
        && escapes
}
