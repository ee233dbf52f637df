//! The stages of a file.

use super::{Answer, Location, Question, base64, columns, description, document, is_empty, is_false};
use crate::Error;
use serde::Serialize;

#[derive(Serialize)]
struct List {
    targets: Vec<Target>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_false")]
    default: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "is_empty")]
    base: String,
    #[serde(skip_serializing_if = "is_empty")]
    platform: String,
    location: Location,
}

/// Lists the stages.
pub fn targets(question: &Question<'_>) -> Result<Answer, Error> {
    let file = question.parse()?;
    let last = file.stages.len() - 1;
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    let mut targets = Vec::with_capacity(file.stages.len());
    for (index, stage) in file.stages.iter().enumerate() {
        let name = stage.from.name.as_ref().map(|name| name.text.clone()).unwrap_or_default();
        let description = description(&stage.comments, &name);
        rows.push(vec![
            match (name.is_empty(), index == last) {
                (true, true) => "(default)".to_owned(),
                (false, true) => format!("{name} (default)"),
                (_, false) => name.clone(),
            },
            description.clone(),
        ]);
        targets.push(Target {
            name,
            default: index == last,
            description,
            base: stage.from.image.text.clone(),
            platform: stage.from.platform.as_ref().map(|platform| platform.text.clone()).unwrap_or_default(),
            location: Location::of(stage.head),
        });
    }
    let list = List { targets, sources: vec![base64(question.text)] };
    Ok(Answer { json: document(&list), text: columns(&rows, 1), warnings: 0, error: None })
}
