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
/// Variables that are followed, and how long their values may be: scopes are copied from stage to stage.
const MAX_VARIABLES: usize = 2000;
const MAX_VALUE: usize = 256;
/// What a variable and a trigger take besides their text.
const VARIABLE: usize = 64;
const TRIGGER: usize = 512;
/// Findings after which no name is guessed any more.
const GUESSES: usize = 200;
/// Shorter names resemble too much.
const SHORTEST_GUESS: usize = 4;

/// What an instruction of a stage finds.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Variables and arguments that have a value.
    pub env: BTreeMap<String, String>,
    /// Names of arguments, with a value or without.
    pub declared: BTreeSet<String>,
    /// Names of variables that have a value which is not followed.
    pub unknown: BTreeSet<String>,
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
        let mut scope = Self {
            env: BTreeMap::from([("PATH".to_owned(), String::new())]),
            declared: BTreeSet::new(),
            unknown: BTreeSet::new(),
            open: env.is_none(),
            shell: false,
            workdir: false,
            triggers: Vec::new(),
        };
        for (name, value) in env.unwrap_or_default().iter().filter_map(|entry| entry.split_once('=')) {
            scope.set(name.to_owned(), value.to_owned());
        }
        scope
    }

    /// Gives a variable a value; nothing if that is not known.
    pub fn set(&mut self, name: String, value: impl Into<Option<String>>) {
        let value = value.into().filter(|value| value.len() <= MAX_VALUE);
        let is_new = !self.env.contains_key(&name) && !self.unknown.contains(&name);
        if is_new && self.env.len() + self.unknown.len() >= MAX_VARIABLES {
            self.open = true;
            return;
        }
        match value {
            Some(value) => {
                self.unknown.remove(&name);
                self.env.insert(name, value);
            }
            None => {
                self.env.remove(&name);
                self.unknown.insert(name);
            }
        }
    }

    /// What a copy of it takes.
    pub fn bytes(&self) -> usize {
        let env = self.env.iter().map(|(name, value)| name.len() + value.len());
        let names = self.declared.iter().chain(&self.unknown).map(String::len);
        let triggers = self.triggers.iter().map(|trigger| 2 * trigger.source.len() + TRIGGER);
        env.chain(names).map(|bytes| bytes + VARIABLE).chain(triggers).sum()
    }

    /// Expands a word; nothing if that fails or a variable in it may have any value.
    pub fn expand(&self, look: &mut Look<'_>, text: &str, span: Span) -> Option<String> {
        let get = |name: &str| self.env.get(name).cloned();
        let expanded = Expander::new(look.escape, &get, &look.globals.budget).word(text).ok()?;
        self.report(look, &expanded.unset, span);
        let is_known = expanded.unset.iter().all(|name| !self.open && !self.unknown.contains(name));
        is_known.then_some(expanded.text)
    }

    /// Looks at the variables of a here-document.
    pub fn expand_heredoc(&self, look: &mut Look<'_>, text: &str, span: Span) {
        let get = |name: &str| self.env.get(name).cloned();
        if let Ok(expanded) = Expander::heredoc(&get, &look.globals.budget).word(text) {
            self.report(look, &expanded.unset, span);
        }
    }

    fn report(&self, look: &mut Look<'_>, unset: &BTreeSet<String>, span: Span) {
        let unknown = unset.iter().filter(|name| {
            !self.declared.contains(*name)
                && !self.unknown.contains(*name)
                && !NO_VARIABLES.contains(&name.as_str())
        });
        for name in unknown {
            let is_global = look.globals.get(name).is_some();
            let near = look.nearest(name, self.env.keys().map(String::as_str));
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

impl Look<'_> {
    /// The known name nearest to `word`, as long as not too many were looked for.
    pub fn nearest<'k>(&self, word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
        if self.found.len() < GUESSES { nearest(word, known) } else { None }
    }
}
