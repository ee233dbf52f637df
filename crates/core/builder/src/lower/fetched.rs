//! The one source that a stage fetches, for those who want to know when it is from.

use super::Error;
use super::files::Remote;
use crate::epoch::ARGUMENT;
use crate::graph::CopySource;
use dockerfile::Span;
use dockerfile::ast::{Dockerfile, Instruction, Kind, Source, Stage, Transfer, Word};
use dockerfile::expand::Expander;
use dockerfile::scope::Globals;
use std::collections::BTreeMap;

/// The source of a stage of `FROM scratch`, arguments and one `ADD`, and of no other.
pub(crate) fn fetched_by(file: &Dockerfile, stage: &Stage, globals: &Globals) -> Result<CopySource, Error> {
    let mut scope = Scope { escape: file.directives.escape, globals, values: BTreeMap::new() };
    if scope.expand(&stage.from.image)? != "scratch" {
        return Err(wrong("must use FROM scratch", stage.from.image.span));
    }
    let mut found = None;
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Arg(args) => {
                for arg in args {
                    let value = globals.declared(arg, scope.escape, &|name| scope.get(name))?;
                    scope.values.extend(value.map(|value| (arg.name.clone(), value)));
                }
            }
            Kind::Add(_) if found.is_some() => {
                return Err(wrong("must contain exactly one remote ADD", instruction.span));
            }
            Kind::Add(transfer) => found = Some(scope.source(instruction, transfer)?),
            other => {
                let what = "does not meet source-only requirements: unsupported";
                return Err(wrong(&format!("{what} {} instruction", other.name()), instruction.span));
            }
        }
    }
    found.ok_or_else(|| wrong("must contain exactly one remote ADD", stage.head))
}

fn wrong(what: &str, span: Span) -> Error {
    Error::at(format!("{ARGUMENT} stage {what}"), span)
        .help("such a stage is `FROM scratch` and one `ADD` of a URL or of a repository")
}

/// What a stage's words see.
struct Scope<'a> {
    escape: char,
    globals: &'a Globals,
    values: BTreeMap<String, String>,
}

impl Scope<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let global = || self.globals.get(name).filter(|_| name != ARGUMENT).map(String::from);
        self.values.get(name).cloned().or_else(global)
    }

    fn expand(&self, word: &Word) -> Result<String, Error> {
        let get = |name: &str| self.get(name);
        let out = Expander::new(self.escape, &get, &self.globals.budget).word(&word.text);
        out.map(|out| out.text).map_err(|e| Error::at(e.to_string(), word.span))
    }

    fn source(&self, instruction: &Instruction, transfer: &Transfer) -> Result<CopySource, Error> {
        let [Source::Path(word)] = &transfer.sources[..] else {
            return Err(wrong("must contain exactly one remote ADD source", instruction.span));
        };
        let checksum = transfer.checksum.as_ref().map(|word| self.expand(word)).transpose()?;
        let remote = Remote::new(transfer, checksum.filter(|sum| !sum.is_empty()));
        let source = remote.source(self.expand(word)?)?;
        if let CopySource::Path(_) | CopySource::Inline { .. } = &source {
            return Err(wrong("source must be a single HTTP(S) or Git ADD", word.span));
        }
        Ok(source)
    }
}
