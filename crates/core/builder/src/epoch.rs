//! `SOURCE_DATE_EPOCH`: the time that stands for now in what a build writes, in seconds since 1970.
//!
//! A build argument says it, else the file's global `ARG`. Either is a number, or names what has a time of its own, as with
//! BuildKit: `context` is the main context, another word a context by name, or a stage that does nothing but `ADD` one thing
//! from elsewhere. A repository has the time of its commit, a file of a server its `Last-Modified`, an archive without that
//! the time of its newest file. What has none leaves the argument empty, and nothing is fixed.

use crate::context::Opener;
use crate::definition::parse_error;
use crate::error::Error;
use crate::lower;
use crate::platforms::lower_error;
use crate::request::Request;
use crate::session::{ContextTree, SourceFile};
use archive::Kind;
use dockerfile::Span;
use dockerfile::ast::{Dockerfile, Kind as Instruction, Stage};
use dockerfile::scope::{Globals, platform_args, target_stage};
use oci::{Platform, Reference};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// The argument's name.
pub(crate) const ARGUMENT: &str = "SOURCE_DATE_EPOCH";
/// The value that means the main context.
const CONTEXT: &str = "context";

/// The time that stands for now, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    /// In the Dockerfile: what the argument's value stands for, if it has one.
    pub said: Option<Option<i64>>,
    /// Of files that are written.
    pub written: Option<i64>,
    /// Of what documents say that was made.
    pub documented: Option<i64>,
}

impl Epoch {
    /// The exporter's word holds for all that is written. In documents it only takes back what would be later: they are the
    /// Dockerfile's, too.
    pub fn new(said: Option<Option<i64>>, exporter: Option<Option<i64>>) -> Self {
        let documented = match (said.flatten(), exporter.flatten()) {
            (Some(said), Some(latest)) => Some(said.min(latest)),
            (said, latest) => said.or(latest),
        };
        Epoch { said, written: exporter.or(said).flatten(), documented }
    }
}

/// When files from elsewhere are from.
#[derive(Debug, Clone, Default)]
pub(crate) enum Time {
    /// Nothing says so.
    #[default]
    Unknown,
    /// Seconds since 1970.
    At(i64),
    /// As the newest file of this archive.
    Newest(PathBuf),
}

impl Time {
    fn seconds(&self, opener: &Opener<'_>) -> Option<i64> {
        match self {
            Time::Unknown => None,
            Time::At(seconds) => Some(*seconds),
            Time::Newest(archive) => {
                newest(archive, opener.lease.limits().stream(), || opener.request.cancel.is_cancelled())
            }
        }
    }
}

/// The time of an archive's newest file, as far as it can be read; whoever sent it may have sent one without an end.
fn newest(path: &Path, limit: u64, stopped: impl Fn() -> bool) -> Option<i64> {
    let stream = archive::decompress(File::open(path).ok()?).ok()?;
    let stream = archive::Guard::new(stream, limit, stopped);
    let mut entries = archive::Reader::new(BufReader::new(stream));
    let mut newest = None;
    while let Ok(Some(entry)) = entries.next_entry() {
        if entry.kind == Kind::File {
            newest = newest.max(Some(entry.mtime.seconds));
        }
    }
    newest
}

/// What the argument's value, if anybody gives one, stands for.
pub(crate) fn resolve(
    opener: &Opener<'_>,
    file: &SourceFile,
    parsed: &Dockerfile,
    main: &ContextTree,
    named: &mut BTreeMap<String, ContextTree>,
) -> Result<Option<Option<i64>>, Error> {
    let request = opener.request;
    let globals = globals(parsed, request).map_err(|e| parse_error(file, e))?;
    let given = request.build_args.get(ARGUMENT);
    let Some(value) = given.map(String::as_str).or_else(|| globals.get(ARGUMENT)) else { return Ok(None) };
    if value.is_empty() {
        return Ok(Some(None));
    }
    if let Ok(seconds) = value.parse() {
        return Ok(Some(Some(seconds)));
    }
    if value == CONTEXT {
        return Ok(Some(main.time.seconds(opener)));
    }
    if let Some(name) = context_name(request, value) {
        opener.fetch(name, named)?;
        return Ok(Some(named.get(name).and_then(|context| context.time.seconds(opener))));
    }
    let is_meant =
        |stage: &&Stage| stage.from.name.as_ref().is_some_and(|name| name.text.eq_ignore_ascii_case(value));
    let Some(stage) = parsed.stages.iter().find(is_meant) else {
        let declared = declaration(parsed).filter(|_| given.is_none());
        return Err(Error::Epoch {
            value: value.to_owned(),
            place: declared.map(|span| Box::new(file.place(span))),
        });
    };
    let source = lower::fetched_by(parsed, stage, &globals).map_err(|e| lower_error(file, e))?;
    let title = format!("[internal] resolve {ARGUMENT} source stage {value}");
    Ok(Some(opener.time_of(source, &title)?.seconds(opener)))
}

/// The same for a client's graph, which has no file to say it.
pub(crate) fn of_graph(request: &Request) -> Epoch {
    let given = request.build_args.get(ARGUMENT).and_then(|value| value.parse().ok());
    let epoch = Epoch::new(given.map(Some), request.source_date_epoch);
    match request.source_date_epoch {
        // Who hands it out wants the times as they are, and there are no documents of another.
        Some(None) => Epoch { documented: None, ..epoch },
        _ => epoch,
    }
}

fn globals(parsed: &Dockerfile, request: &Request) -> Result<Globals, dockerfile::Error> {
    let host = Platform::host();
    let platform = request.platforms.first().unwrap_or(&host).normalized();
    let platform = platform_args(&host, &platform, target_stage(parsed, request.target.as_deref()));
    Globals::evaluate(parsed, &request.build_args, platform)
}

/// The context by name that a value means.
fn context_name<'r>(request: &'r Request, value: &str) -> Option<&'r String> {
    let contexts = &request.named_contexts;
    let found = contexts.get_key_value(value);
    found.or_else(|| contexts.get_key_value(&Reference::shortest(value)?)).map(|(name, _)| name)
}

/// Where the file declares the argument for all stages.
fn declaration(parsed: &Dockerfile) -> Option<Span> {
    let declared = parsed.global_args.iter().rev().find_map(|instruction| match &instruction.kind {
        Instruction::Arg(args) => args.iter().rev().find(|arg| arg.name == ARGUMENT),
        _ => None,
    });
    declared.map(|arg| arg.span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_hands_a_graph_out_may_want_the_times_as_they_are() {
        let said =
            Request { build_args: [(ARGUMENT.to_owned(), "7".to_owned())].into(), ..Request::default() };
        let times = |request: &Request| (of_graph(request).written, of_graph(request).documented);
        assert_eq!(times(&said), (Some(7), Some(7)));
        assert_eq!(times(&Request { source_date_epoch: Some(None), ..said.clone() }), (None, None));
        assert_eq!(times(&Request { source_date_epoch: Some(Some(5)), ..said }), (Some(5), Some(5)));
    }
}
