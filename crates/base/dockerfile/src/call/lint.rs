//! The build checks of a file.

use super::{Answer, Asked, Location, Question, base64, document};
use crate::ast::Dockerfile;
use crate::check::{self, Rule, Surroundings};
use crate::render::excerpt;
use crate::{Error, Span, Warning};
use oci::Platform;
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Serialize)]
struct Results<'a> {
    warnings: Option<Vec<Found<'a>>>,
    sources: Vec<Source<'a>>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<BuildError>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    rule_name: &'a str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    language: &'static str,
    data: String,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

/// Checks the file: all stages, or those that the target needs.
pub fn lint(question: &Question<'_>) -> Answer {
    let parsed = question.parse();
    let checked = parsed.as_ref().map_err(Error::clone).and_then(|file| warnings(question, file));
    let (warnings, error) = checked.unwrap_or_else(|error| {
        (check::ahead(question.text, question.options, question.build_args), Some(error))
    });
    let lines = |warning: &Warning| match &parsed {
        Ok(file) => file.lines(warning),
        Err(_) => (warning.span.line, warning.span.end_line),
    };
    let found = warnings.iter().map(|warning| {
        let (first, last) = lines(warning);
        let rule = check::find(&warning.rule);
        Found {
            rule_name: &warning.rule,
            description: rule.map_or("", |rule| rule.description),
            url: rule.and_then(Rule::url),
            detail: &warning.message,
            location: Location::of(Span { line: first, end_line: last, ..warning.span }),
        }
    });
    let shown = error.as_ref().map(|error| message(error, parsed.is_err()));
    let results = Results {
        warnings: Some(found.collect()).filter(|found: &Vec<_>| !found.is_empty()),
        sources: vec![Source {
            filename: question.name,
            language: "Dockerfile",
            data: base64(question.text),
        }],
        error: error.as_ref().zip(shown.clone()).map(|(error, message)| BuildError {
            message,
            location: if error.span.line == 0 { Location::default() } else { Location::of(error.span) },
        }),
    };
    let text = warnings.iter().map(|warning| {
        let help = warning.help.as_deref();
        let place = excerpt(question.name, question.text, warning.span);
        let help = help.map(|help| format!("help: {help}\n")).unwrap_or_default();
        format!("\nWARNING: {}\n{}\n{place}{help}", warning.rule, warning.message)
    });
    Answer {
        json: document(&results),
        text: text.collect(),
        warnings: warnings.len(),
        error: error.zip(shown).map(|(error, message)| match error.span.line {
            0 => format!("{message}\n"),
            _ => {
                let place = excerpt(question.name, question.text, error.span);
                let help = error.help.map(|help| format!("help: {help}\n")).unwrap_or_default();
                format!("{message}\n{place}{help}")
            }
        }),
    }
}

fn message(error: &Error, while_reading: bool) -> String {
    match while_reading {
        true => error.to_string(),
        false => error.message.clone(),
    }
}

/// The warnings, and the error that they are where the file wants that.
fn warnings(question: &Question<'_>, file: &Dockerfile) -> Result<(Vec<Warning>, Option<Error>), Error> {
    let settings = check::settings(file, question.build_args)
        .map_err(|why| Error::new(format!("failed to parse check options: {why}"), Span::default()))?;
    let globals = question.globals(file)?;
    let asked = Asked::new(file, &globals);
    let index = asked.target(question.target)?;
    let stages = match question.target.is_some_and(|name| !name.is_empty()) {
        true => Some(asked.reached(index)?),
        false => None,
    };
    let warnings = check::check(
        file,
        &Surroundings {
            build_args: question.build_args,
            target: question.target,
            platform: question.platform,
            build_platform: &Platform::host(),
            image: question.image,
            suits: question.suits,
            ignore: question.ignore,
            stages: stages.as_ref(),
        },
    );
    if let Some(error) = unusable_base(&asked, stages.as_ref()).or_else(|| question.mistake.cloned()) {
        return Ok((warnings, Some(error)));
    }
    let violation = check::violation(&warnings).filter(|_| settings.error);
    Ok((warnings, violation))
}

/// The first `FROM` that cannot work, of these stages or of all.
pub(super) fn unusable_base(asked: &Asked<'_>, stages: Option<&BTreeSet<usize>>) -> Option<Error> {
    let wanted = |index: &usize| stages.is_none_or(|stages| stages.contains(index));
    (0..asked.file.stages.len()).filter(wanted).find_map(|index| {
        let stage = &asked.file.stages[index];
        let base = match asked.base_name(stage) {
            Ok(base) => base,
            Err(error) => return Some(error),
        };
        let is_stage = asked.names.above(&base, index).is_some() || base == "scratch";
        let is_id = oci::Reference::is_image_id(&base);
        if !is_stage
            && !is_id
            && let Err(why) = oci::Reference::parse(&base)
        {
            return Some(Error::new(format!("failed to parse stage name {base:?}: {why}"), stage.head));
        }
        let word = stage.from.platform.as_ref()?;
        let expanded = asked.expand(word).ok()?;
        match expanded.text.parse::<Platform>() {
            _ if expanded.text.is_empty() => {
                let message = format!("empty platform value from expression {}", word.text);
                Some(Error::new(message, stage.head))
            }
            Ok(_) => None,
            Err(why) => {
                Some(Error::new(format!("failed to parse platform {}: {why}", word.text), stage.head))
            }
        }
    })
}
