//! DL3058: a label is an e-mail address.

use super::labels;
use crate::config::{LabelType, Settings};
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3058", severity: Severity::Warning, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    labels(view, settings, told, LabelType::Email, "is no address of RFC 5322", is_address);
}

fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    let quoted = local.len() > 2
        && local.starts_with('"')
        && local.ends_with('"')
        && local.chars().all(|c| !c.is_control());
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let literal = domain.starts_with('[') && domain.ends_with(']') && domain.len() > 2;
    let local = quoted || local.split('.').all(atom);
    local && local_length(text) && (literal || domain.split('.').all(label))
}

fn local_length(text: &str) -> bool {
    text.len() <= 254 && text.rfind('@').is_some_and(|at| at <= 64)
}
