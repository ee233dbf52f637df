//! Comments that settle what rules may say: `# hadolint ignore=A,B` above an instruction, `# hadolint stage ignore=` above a
//! `FROM`, `# hadolint global ignore=` anywhere.

use dockerfile::ast::{Comment, Dockerfile};
use std::collections::{BTreeMap, BTreeSet};

/// The pragmas of a file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Pragmas {
    lines: BTreeMap<u32, BTreeSet<String>>,
    stages: BTreeMap<u32, BTreeSet<String>>,
    global: BTreeSet<String>,
}

/// What a comment says.
#[derive(Debug, PartialEq)]
enum Scope {
    Line,
    Stage,
    Global,
}

impl Pragmas {
    /// Reads the comments of a file.
    pub fn new(file: &Dockerfile) -> Self {
        let mut pragmas = Self::default();
        for Comment { text, line } in &file.comments {
            let Some((scope, rules)) = parse(text) else { continue };
            match scope {
                Scope::Line => pragmas.lines.entry(line + 1).or_default().extend(rules),
                Scope::Stage => pragmas.stages.entry(line + 1).or_default().extend(rules),
                Scope::Global => pragmas.global.extend(rules),
            }
        }
        for stage in &file.stages {
            pragmas.stages.entry(stage.head.line).or_default();
        }
        pragmas
    }

    /// Whether they silence a rule at a line.
    pub fn silence(&self, rule: &str, line: u32) -> bool {
        let has = |rules: &BTreeSet<String>| rules.contains(rule);
        self.global.contains(rule)
            || self.lines.get(&line).is_some_and(has)
            || self.stages.range(..=line).next_back().is_some_and(|(_, rules)| has(rules))
    }
}

/// Whether a comment is a pragma that silences rules below it.
pub(crate) fn is_inline(comment: &str) -> bool {
    matches!(parse(comment), Some((Scope::Line, _)))
}

fn parse(comment: &str) -> Option<(Scope, Vec<String>)> {
    let rest = comment.trim_start().strip_prefix("hadolint")?;
    let word = |rest: &'_ str, word: &str| -> Option<String> {
        let spaced = rest.trim_start_matches([' ', '\t']);
        (spaced.len() < rest.len()).then(|| spaced.strip_prefix(word).map(str::to_owned)).flatten()
    };
    let (scope, rest) = if let Some(rest) = word(rest, "stage") {
        (Scope::Stage, word(&rest, "ignore")?)
    } else if let Some(rest) = word(rest, "global") {
        (Scope::Global, word(&rest, "ignore")?)
    } else {
        (Scope::Line, word(rest, "ignore")?)
    };
    let rules = rest.trim_start().strip_prefix('=')?;
    let rules = rules.split('#').next().unwrap_or_default();
    let names: Vec<String> = rules.split(',').map(|name| name.trim().to_owned()).collect();
    // With a name that can be no rule's, it is no pragma at all.
    let is_name = |name: &String| !name.is_empty() && name.chars().all(|c| "DLSC0123456789".contains(c));
    names.iter().all(is_name).then_some((scope, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (text, want) in [
            ("hadolint ignore=DL3001,DL3002", Some((Scope::Line, names(&["DL3001", "DL3002"])))),
            (" hadolint  ignore = DL3001 , SC1000 # why", Some((Scope::Line, names(&["DL3001", "SC1000"])))),
            ("hadolint global ignore=DL3001", Some((Scope::Global, names(&["DL3001"])))),
            ("hadolint stage ignore=DL3001", Some((Scope::Stage, names(&["DL3001"])))),
            ("hadolint ignore DL3001", None),
            ("hadolint ignore=", None),
            ("hadolint ignore=crazy,DL3002", None),
            ("hadolint ignore=dl3002", None),
            ("hadolintignore=DL3001", None),
            ("hadolint ignore=DL3001 because", None),
            ("other", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
