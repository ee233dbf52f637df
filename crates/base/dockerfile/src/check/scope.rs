//! The variables that a stage sees, as far as they are known.

use super::warning;
use crate::ast::Instruction;
use crate::expand::Expander;
use crate::scope::Globals;
use crate::suggest::nearest;
use crate::{Span, Warning};
use std::collections::{BTreeMap, BTreeSet};

/// Arguments that BuildKit keeps out of the environment.
const NO_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];
/// Shorter names resemble too much.
const SHORTEST_GUESS: usize = 4;

/// What an instruction of a stage finds.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Variables and arguments that have a value.
    pub env: BTreeMap<String, String>,
    /// Names of arguments, with a value or without.
    pub declared: BTreeSet<String>,
    /// The base image may have set others.
    pub open: bool,
    /// `SHELL` was used.
    pub shell: bool,
    /// There was a `WORKDIR`.
    pub workdir: bool,
    /// Triggers for stages that build on this one.
    pub triggers: Vec<Instruction>,
}

impl Scope {
    /// The scope above an image: its variables, `open` if they are unknown.
    pub fn new(env: Option<&[String]>) -> Self {
        let mut known: BTreeMap<String, String> = env
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        known.entry("PATH".into()).or_default();
        let (declared, triggers) = (BTreeSet::new(), Vec::new());
        Self { env: known, declared, open: env.is_none(), shell: false, workdir: false, triggers }
    }

    /// Expands a word; nothing if that fails or a variable in it may have any value.
    pub fn expand(&self, look: &mut Look<'_>, text: &str, span: Span) -> Option<String> {
        let get = |name: &str| self.env.get(name).cloned();
        let expanded = Expander::new(look.escape, &get).word(text).ok()?;
        self.report(look, &expanded.unset, span);
        (!self.open || expanded.unset.is_empty()).then_some(expanded.text)
    }

    /// Looks at the variables of a here-document.
    pub fn expand_heredoc(&self, look: &mut Look<'_>, text: &str, span: Span) {
        let get = |name: &str| self.env.get(name).cloned();
        if let Ok(expanded) = Expander::heredoc(&get).word(text) {
            self.report(look, &expanded.unset, span);
        }
    }

    fn report(&self, look: &mut Look<'_>, unset: &BTreeSet<String>, span: Span) {
        let unknown = unset
            .iter()
            .filter(|name| !self.declared.contains(*name) && !NO_VARIABLES.contains(&name.as_str()));
        for name in unknown {
            let is_global = look.globals.get(name).is_some();
            let near = nearest(name, self.env.keys().map(String::as_str));
            if self.open && !is_global && (near.is_none() || name.len() < SHORTEST_GUESS) {
                continue;
            }
            let hint = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            let help = is_global
                .then(|| format!("an ARG above FROM is not seen in a stage: write `ARG {name}` in it"));
            let message = format!("Usage of undefined variable '${name}'{hint}");
            look.found.push(warning("UndefinedVar", message, span, help));
        }
    }
}

/// What looking at a stage needs, and where it puts what it finds.
pub(super) struct Look<'a> {
    pub escape: char,
    pub globals: &'a Globals,
    pub found: &'a mut Vec<Warning>,
}
