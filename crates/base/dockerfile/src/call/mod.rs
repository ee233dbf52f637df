//! What a Dockerfile can be asked without building it: `--call=check|outline|targets`.
//!
//! Answers are those of BuildKit's subrequests (`frontend.lint`, `frontend.outline`, `frontend.targets`): a document for
//! programs and a text for people.

mod lint;
mod outline;
mod targets;
#[cfg(test)]
mod tests;

pub use lint::lint;
pub use outline::outline;
pub use targets::targets;

use crate::ast::{Dockerfile, Kind, Stage, Word};
use crate::expand::{Expanded, Expander};
use crate::scope::{Globals, platform_args, target_stage};
use crate::suggest::nearest;
use crate::{Error, Range, Span, StageNames};
use oci::Platform;
use oci::image::ImageConfig;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The file that is asked, and how.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The file's name.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// How it is read.
    pub options: crate::Options,
    /// `--build-arg`.
    pub build_args: &'a BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<&'a str>,
    /// `--platform`.
    pub platform: &'a Platform,
    /// The configuration of a base image, if it is known.
    pub image: &'a dyn Fn(&str, &Platform) -> Option<ImageConfig>,
    /// Whether a base image for this platform is as good, where none was asked for.
    pub suits: &'a dyn Fn(&Platform) -> bool,
    /// The context's ignore file.
    pub ignore: Option<&'a crate::ignore::Ignore>,
    /// Why a builder could not take it, which only a builder knows.
    pub mistake: Option<&'a Error>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For programs.
    pub json: String,
    /// For people.
    pub text: String,
    /// How many warnings there are.
    pub warnings: usize,
    /// What is wrong with the file, with its lines.
    pub error: Option<String>,
}

/// Lines of one place that are told: a thousand warnings may be about the same instruction.
const LINES_MAX: usize = 100;

/// A place as BuildKit's documents have it: each of its lines.
#[derive(Debug, Clone, Default, Serialize)]
struct Location {
    ranges: Vec<Range>,
}

impl Location {
    fn of(span: Span) -> Self {
        Self { ranges: span.ranges(LINES_MAX) }
    }
}

/// These documents hold nothing that JSON cannot.
fn document(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl Question<'_> {
    fn parse(&self) -> Result<Dockerfile, Error> {
        crate::parse(self.text, self.options)
    }

    fn globals(&self, file: &Dockerfile) -> Result<Globals, Error> {
        let host = Platform::host();
        let platform = platform_args(&host, self.platform, target_stage(file, self.target));
        Globals::evaluate(file, self.build_args, platform)
    }
}

/// The images that stages are based on, whose configurations [`Question::image`] will be asked for, and for which platform.
pub fn bases(question: &Question<'_>) -> BTreeSet<(String, Platform)> {
    let Ok(file) = question.parse() else { return BTreeSet::new() };
    let Ok(globals) = question.globals(&file) else { return BTreeSet::new() };
    let asked = Asked::new(&file, &globals);
    let stages = file.stages.iter().enumerate();
    let names = stages.filter_map(|(index, stage)| {
        let name = asked.base_name(stage).ok()?;
        let platform = asked.platform(stage).unwrap_or_else(|| question.platform.clone());
        (name != "scratch" && asked.names.above(&name, index).is_none()).then_some((name, platform))
    });
    names.collect()
}

/// A file that was read, to be asked about its stages.
struct Asked<'f> {
    file: &'f Dockerfile,
    globals: &'f Globals,
    names: StageNames<'f>,
}

impl<'f> Asked<'f> {
    fn new(file: &'f Dockerfile, globals: &'f Globals) -> Self {
        Self { file, globals, names: StageNames::of(file) }
    }

    /// The stage of `--target`, the last one without.
    fn target(&self, target: Option<&str>) -> Result<usize, Error> {
        let stages = &self.file.stages;
        let Some(name) = target.filter(|name| !name.is_empty()) else { return Ok(stages.len() - 1) };
        if let Some(index) = self.named(name) {
            return Ok(index);
        }
        let names = stages.iter().filter_map(|stage| stage.from.name.as_ref()).map(|n| n.text.as_str());
        let hint = nearest(name, names).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        Err(Error::new(format!("target stage {name:?} could not be found{hint}"), Span::default()))
    }

    /// The last stage of this name, or of this number.
    fn named(&self, name: &str) -> Option<usize> {
        let count = self.file.stages.len();
        let number = || name.parse::<usize>().ok().filter(|number| *number < count);
        self.names.above(name, count).or_else(number)
    }

    /// A word of `FROM` with its variables expanded.
    fn expand(&self, word: &Word) -> Result<Expanded, crate::expand::Error> {
        let get = |name: &str| self.globals.get(name).map(String::from);
        Expander::new(self.file.directives.escape, &get, &self.globals.budget).word(&word.text)
    }

    /// The image that a stage is from, its variables expanded.
    fn base_name(&self, stage: &Stage) -> Result<String, Error> {
        let image = &stage.from.image;
        let expanded = self.expand(image).map_err(|error| Error::new(error.to_string(), stage.head))?;
        match expanded.text.is_empty() {
            true => Err(Error::new(format!("base name ({}) should not be blank", image.text), stage.head)),
            false => Ok(expanded.text),
        }
    }

    /// The stage that a stage is from.
    fn base(&self, index: usize) -> Result<Option<usize>, Error> {
        Ok(self.names.above(&self.base_name(&self.file.stages[index])?, index))
    }

    /// The platform that a stage names, if it is one.
    fn platform(&self, stage: &Stage) -> Option<Platform> {
        let expanded = self.expand(stage.from.platform.as_ref()?).ok()?;
        expanded.text.parse::<Platform>().ok().map(|platform| platform.normalized())
    }

    /// The stages that a stage names: its base, sources of its copies and mounts.
    fn needs(&self, index: usize) -> Result<BTreeSet<usize>, Error> {
        let mut needs: BTreeSet<usize> = self.base(index)?.into_iter().collect();
        for instruction in &self.file.stages[index].instructions {
            match &instruction.kind {
                Kind::Copy(copy) => needs.extend(copy.from.iter().filter_map(|from| self.named(&from.text))),
                Kind::Run(run) => {
                    let mounts = run.mounts.iter().filter_map(|mount| mount.plain().ok());
                    needs.extend(mounts.filter_map(|mount| self.named(&mount.from?)));
                }
                _ => {}
            }
        }
        Ok(needs)
    }

    /// A stage and all that it needs.
    fn reached(&self, target: usize) -> Result<BTreeSet<usize>, Error> {
        let mut reached = BTreeSet::new();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if reached.insert(index) {
                open.extend(self.needs(index)?);
            }
        }
        Ok(reached)
    }
}

/// Columns as Go's tabwriter sets them: as wide as the widest cell and so many blanks, the last one as it is.
fn columns(rows: &[Vec<String>], padding: usize) -> String {
    let mut out = String::new();
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let blanks = widths[column] + padding - cell.chars().count();
                out.push_str(&" ".repeat(blanks));
            }
        }
        out.push('\n');
    }
    out
}

/// The description in the comments above: `# name what it is`.
fn description(comments: &[String], name: &str) -> String {
    let after = |line: &String| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    comments.iter().find_map(after).filter(|_| !name.is_empty()).unwrap_or_default()
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

fn is_false(value: &bool) -> bool {
    !value
}
