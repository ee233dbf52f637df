//! Build checks: what builds, but probably does not do what its author thinks.
//!
//! BuildKit's rules with its names and messages (`frontend/dockerfile/linter`), and four of our own: a comment behind an
//! instruction, an array that is not JSON, a build argument that nothing declares, and what stands for more warnings than somebody
//! reads. A rule about variables needs to
//! know what the base image sets: where that is unknown, it speaks only where it cannot be wrong.

mod names;
mod rules;
mod scope;
mod stage;
#[cfg(test)]
pub(crate) mod tests;

use rules::MORE;
pub use rules::{RULES, Rule, find};

use crate::ast::{Check, Dockerfile};
use crate::ignore::Ignore;
use crate::scope::{Globals, platform_args, target_stage};
use crate::{Error, Span, Warning};
use oci::Platform;
use oci::image::ImageConfig;
use std::collections::{BTreeMap, BTreeSet};

/// More warnings than this are counted and not told.
const TOLD: usize = 1000;

/// What is known beside the file.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// `--build-arg`.
    pub build_args: &'a BTreeMap<String, String>,
    /// The stage to build.
    pub target: Option<&'a str>,
    /// What is built for.
    pub platform: &'a Platform,
    /// What the build runs on.
    pub build_platform: &'a Platform,
    /// The configuration of a base image, if it is known.
    pub image: &'a dyn Fn(&str, &Platform) -> Option<ImageConfig>,
    /// Whether a base image for this platform is as good, where none was asked for.
    pub suits: &'a dyn Fn(&Platform) -> bool,
    /// The context's ignore file, if there is one.
    pub ignore: Option<&'a Ignore>,
    /// The stages that are built; all of them without.
    pub stages: Option<&'a BTreeSet<usize>>,
}

/// Checks a file; in the order of the file, without what it skips.
pub fn check(file: &Dockerfile, around: &Surroundings<'_>) -> Vec<Warning> {
    let settings = settings(file, around.build_args).unwrap_or_default();
    let mut found = file.warnings.clone();
    names::check(file, &mut found);
    let given = around.build_args;
    let stage = target_stage(file, around.target);
    let platform = || platform_args(around.build_platform, around.platform, stage);
    if let Ok(defaults) = Globals::evaluate(file, &BTreeMap::new(), platform()) {
        names::default_images(file, &defaults, &mut found);
    }
    if let Ok(globals) = Globals::evaluate(file, given, platform()) {
        stage::check(file, around, &globals, &mut found);
        unused(file, &globals, &mut found);
    }
    told(file, &settings, found)
}

/// What is told of a file that cannot be read: BuildKit's warnings ahead of its error.
pub fn ahead(text: &str, options: crate::Options, build_args: &BTreeMap<String, String>) -> Vec<Warning> {
    let Ok((mut file, _)) = crate::parse::read(text, options) else { return Vec::new() };
    let settings = settings(&file, build_args).unwrap_or_default();
    let mut found = std::mem::take(&mut file.warnings);
    names::ahead(&file, &mut found);
    told(&file, &settings, found)
}

/// Those that the file lets through, in its order.
fn told(file: &Dockerfile, settings: &Check, mut found: Vec<Warning>) -> Vec<Warning> {
    let settings = Wanted::of(settings);
    // What the comment above the last instruction said.
    let mut own: Option<(Span, Option<Wanted>)> = None;
    found.sort_by_key(|warning| warning.span.start);
    found.retain(|warning| {
        let own = match instruction_at(file, warning.span) {
            Some((span, comments)) => {
                if own.as_ref().is_none_or(|(last, _)| *last != span) {
                    own = Some((span, comment_settings(comments).map(|own| Wanted::of(&own))));
                }
                own.as_ref().and_then(|(_, own)| own.as_ref())
            }
            None => None,
        };
        let mut all = [Some(&settings), own].into_iter().flatten();
        match find(&warning.rule) {
            Some(rule) if rule.experimental => all.any(|wanted| wanted.experimental(rule.name)),
            rule => !all.any(|wanted| wanted.skips(rule.map_or("", |rule| rule.name))),
        }
    });
    if let Some(more) = found.len().checked_sub(TOLD).filter(|more| *more > 0) {
        let message = format!("{more} more warnings are not shown");
        let first = warning(MORE, message, found[TOLD].span, None);
        found.truncate(TOLD);
        found.push(first);
    }
    found
}

/// The settings that hold for a file: of the build argument `BUILDKIT_DOCKERFILE_CHECK`, else of its directive.
pub fn settings(file: &Dockerfile, build_args: &BTreeMap<String, String>) -> Result<Check, String> {
    match build_args.get("BUILDKIT_DOCKERFILE_CHECK") {
        Some(text) => parse(text),
        None => Ok(file.directives.check.clone().unwrap_or_default()),
    }
}

/// Reads `skip=A,B;error=true;experimental=C`.
pub fn parse(text: &str) -> Result<Check, String> {
    let mut check = Check::default();
    if text.trim().is_empty() {
        return Ok(check);
    }
    let names = |text: &str| text.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
    for part in text.trim().split(';') {
        let Some((key, value)) = part.split_once('=') else {
            return Err(format!("invalid check option {part:?}"));
        };
        match (key.trim(), value.trim()) {
            ("skip", "all") => check.skip_all = true,
            ("skip", value) => check.skip = names(value),
            ("experimental", "all") => check.experimental_all = true,
            ("experimental", value) => check.experimental = names(value),
            ("error", "true" | "1" | "t" | "T" | "TRUE" | "True") => check.error = true,
            ("error", "false" | "0" | "f" | "F" | "FALSE" | "False") => check.error = false,
            ("error", _) => return Err(format!("failed to parse check option {part:?}")),
            (key, _) => return Err(format!("invalid check option {key:?}")),
        }
    }
    Ok(check)
}

/// What a build with `error=true` ends with. Whoever writes that into his file means BuildKit's rules: one that is clean by them
/// does not fail for ours. Like BuildKit it points at the last of them.
pub fn violation(warnings: &[Warning]) -> Option<Error> {
    let violated = || warnings.iter().filter(|warning| !rules::is_own(&warning.rule));
    let names: BTreeSet<&str> = violated().map(|warning| warning.rule.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let message = format!("lint violation found for rules: {}", names.join(", "));
    violated().next_back().map(|last| Error::new(message, last.span))
}

/// Build arguments that nothing declares.
fn unused(file: &Dockerfile, globals: &Globals, found: &mut Vec<Warning>) {
    for name in globals.unconsumed(file) {
        let message = format!("One or more build-args [{name}] were not consumed");
        let near = crate::nearest(name, file.declared());
        let help = Some(match near {
            Some(near) => format!("did you mean {near}? Else declare it with `ARG {name}`"),
            None => format!("declare it with `ARG {name}`"),
        });
        found.push(warning("UnusedBuildArg", message, file.stages[0].from.image.span, help));
    }
}

/// What settings say of rules: a file may name more than there are.
struct Wanted {
    skip_all: bool,
    skip: BTreeSet<&'static str>,
    experimental_all: bool,
    experimental: BTreeSet<&'static str>,
}

impl Wanted {
    fn of(settings: &Check) -> Self {
        let rules = |names: &[String]| names.iter().filter_map(|name| Some(find(name)?.name)).collect();
        Self {
            skip_all: settings.skip_all,
            skip: rules(&settings.skip),
            experimental_all: settings.experimental_all,
            experimental: rules(&settings.experimental),
        }
    }

    fn skips(&self, rule: &str) -> bool {
        self.skip_all || self.skip.contains(rule)
    }

    fn experimental(&self, rule: &str) -> bool {
        self.experimental_all || self.experimental.contains(rule)
    }
}

/// `# check=…` above an instruction.
fn comment_settings(comments: &[String]) -> Option<Check> {
    comments.iter().find_map(|comment| {
        let (key, value) = comment.split_once('=')?;
        let value = value.trim_start().split(' ').next().unwrap_or_default();
        key.trim().eq_ignore_ascii_case("check").then(|| parse(value).ok()).flatten()
    })
}

/// The instruction that a place lies in, and the comments above it.
fn instruction_at(file: &Dockerfile, place: Span) -> Option<(Span, &[String])> {
    let stages = file.stages.partition_point(|stage| stage.head.start <= place.start);
    let (head, list) = match stages.checked_sub(1).map(|index| &file.stages[index]) {
        Some(stage) => (Some((stage.head, stage.comments.as_slice())), &stage.instructions),
        None => (None, &file.global_args),
    };
    let inside = list.partition_point(|instruction| instruction.span.start <= place.start);
    let inside = inside.checked_sub(1).map(|index| &list[index]);
    inside.map(|i| (i.span, i.comments.as_slice())).or(head)
}

impl Dockerfile {
    /// The lines that BuildKit names for a warning: those of the whole instruction.
    pub fn lines(&self, warning: &Warning) -> (u32, u32) {
        match instruction_at(self, warning.span) {
            Some((span, _)) if warning.rule == "NoEmptyContinuation" => (span.end_line, span.end_line),
            Some((span, _)) => (span.line, span.end_line.max(span.line)),
            None => (warning.span.line, warning.span.end_line.max(warning.span.line)),
        }
    }
}

fn warning(rule: &str, message: String, span: Span, help: Option<String>) -> Warning {
    debug_assert!(find(rule).is_some(), "{rule} is in the table");
    Warning { rule: rule.into(), message, span, help }
}
