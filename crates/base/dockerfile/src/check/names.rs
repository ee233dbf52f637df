//! Keywords, names of stages and of base images: what one sees without knowing any value.

use super::warning;
use crate::ast::{Dockerfile, Instruction, Kind, Stage};
use crate::expand::Expander;
use crate::scope::Globals;
use crate::{Span, Warning};
use std::collections::BTreeSet;

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Warning>) {
    keyword_casing(file, found);
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        casing_of_from(stage, found);
        stage_name(stage, &mut seen, found);
    }
    descriptions(file, found);
}

/// What is seen of each instruction by itself, while a file is read.
pub(super) fn ahead(file: &Dockerfile, found: &mut Vec<Warning>) {
    file.stages.iter().for_each(|stage| casing_of_from(stage, found));
    descriptions(file, found);
}

/// The place of the first word.
fn keyword_span(instruction: Span, keyword: &str) -> Span {
    Span { end: instruction.start + keyword.len(), end_line: instruction.line, ..instruction }
}

/// The keyword of a stage's `FROM`.
fn from_keyword(stage: &Stage) -> &str {
    crate::words::keyword(&stage.source).0
}

fn is_lower(text: &str) -> bool {
    text == text.to_lowercase()
}

fn is_upper(text: &str) -> bool {
    text == text.to_uppercase()
}

fn keyword_casing(file: &Dockerfile, found: &mut Vec<Warning>) {
    let mut all: Vec<(&str, Span)> = Vec::new();
    for stage in &file.stages {
        all.push((from_keyword(stage), stage.head));
        all.extend(stage.instructions.iter().map(|i| (i.keyword.as_str(), i.span)));
    }
    let lower = all.iter().filter(|(keyword, _)| is_lower(keyword)).count();
    let upper = all.iter().filter(|(keyword, _)| is_upper(keyword) && !is_lower(keyword)).count();
    let (is_right, majority): (fn(&str) -> bool, _) =
        if lower > upper { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    for (keyword, span) in all.into_iter().filter(|(keyword, _)| !is_right(keyword)) {
        let message =
            format!("Command '{keyword}' should match the case of the command majority ({majority})");
        found.push(warning("ConsistentInstructionCasing", message, keyword_span(span, keyword), None));
    }
}

fn casing_of_from(stage: &Stage, found: &mut Vec<Warning>) {
    let Some(name) = &stage.from.name else { return };
    let words = crate::words::plain(&stage.source, 0);
    let Some(at) = words.iter().rposition(|word| word.text.eq_ignore_ascii_case("as")) else { return };
    let (as_word, keyword) = (words[at].text.as_str(), from_keyword(stage));
    // Where the keyword is neither, that is a warning of its own.
    let matches = match (is_lower(keyword), is_upper(keyword)) {
        (true, _) => is_lower(as_word),
        (_, true) => is_upper(as_word),
        _ => true,
    };
    if !matches {
        let message = format!("'{as_word}' and '{keyword}' keywords' casing do not match");
        found.push(warning("FromAsCasing", message, keyword_span(stage.head, keyword), None));
    }
    let written = words.get(at + 1).map_or("", |word| word.text.as_str());
    if !is_lower(written) {
        let help = Some(format!("write `{as_word} {}`", name.text));
        let message = format!("Stage name '{written}' should be lowercase");
        found.push(warning("StageNameCasing", message, name.span, help));
    }
}

fn stage_name<'a>(stage: &'a Stage, seen: &mut BTreeSet<&'a str>, found: &mut Vec<Warning>) {
    let Some(name) = &stage.from.name else { return };
    if ["scratch", "context"].contains(&name.text.as_str()) {
        let message = format!("Stage name should not use the same name as reserved stage {:?}", name.text);
        found.push(warning("ReservedStageName", message, name.span, None));
    }
    if !seen.insert(&name.text) {
        let message = format!("Duplicate stage name {:?}, stage names should be unique", name.text);
        found.push(warning("DuplicateStageName", message, name.span, None));
    }
}

/// Whether every base image has a name without build arguments.
pub(super) fn default_images(file: &Dockerfile, defaults: &Globals, found: &mut Vec<Warning>) {
    let get = |name: &str| defaults.get(name).map(String::from);
    for image in file.stages.iter().map(|stage| &stage.from.image).filter(|image| image.text.contains('$')) {
        let Ok(expanded) = Expander::new(file.directives.escape, &get, &defaults.budget).word(&image.text)
        else {
            return;
        };
        if oci::Reference::parse(&expanded.text).is_err() {
            let message =
                format!("Default value for ARG {} results in empty or invalid base image name", image.text);
            let help = Some("give the ARG a default with which the name is a whole one".into());
            found.push(warning("InvalidDefaultArgInFrom", message, image.span, help));
        }
    }
}

/// `# name what it is` above stages and arguments.
fn descriptions(file: &Dockerfile, found: &mut Vec<Warning>) {
    let args = |instruction: &Instruction| match &instruction.kind {
        Kind::Arg(args) => Some(args.iter().map(|arg| arg.name.clone()).collect::<Vec<_>>()),
        _ => None,
    };
    let mut check = |keyword: &str, names: Vec<String>, comments: &[String], span: Span| {
        let Some(last) = comments.last() else { return };
        let first = last.split(' ').next().unwrap_or_default();
        if names.is_empty() || names.iter().any(|name| name == first) {
            return;
        }
        let example = if names.len() > 1 { "<arg_key>" } else { names[0].as_str() };
        let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
        found.push(warning("InvalidDefinitionDescription", message, span, None));
    };
    for instruction in file.global_args.iter().chain(file.stages.iter().flat_map(|s| &s.instructions)) {
        if let Some(names) = args(instruction) {
            check("ARG", names, &instruction.comments, instruction.span);
        }
    }
    for stage in &file.stages {
        let name = stage.from.name.iter().map(|name| name.text.clone()).collect();
        check("FROM", name, &stage.comments, stage.head);
    }
}
