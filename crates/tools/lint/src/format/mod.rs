//! Findings as text, in the formats that tools around hadolint read.

mod checkstyle;
mod codacy;
mod codeclimate;
mod gnu;
mod json;
mod junit;
mod sarif;
mod sonarqube;
mod tty;
mod xml;

use crate::config::Error;
use crate::lint::Checked;
use crate::rule::Finding;
use serde::Deserialize;
use std::str::FromStr;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Lines for people.
    Tty,
    /// One array.
    Json,
    /// XML of Checkstyle.
    Checkstyle,
    /// Code Climate: documents, each with a NUL behind.
    Codeclimate,
    /// Code Climate as GitLab wants it: one array with fingerprints.
    GitlabCodeclimate,
    /// Lines of the GNU coding standards.
    Gnu,
    /// Codacy: a document a line.
    Codacy,
    /// SonarQube's generic issues.
    Sonarqube,
    /// SARIF 2.1.0.
    Sarif,
    /// XML of JUnit.
    Junit,
}

/// How things are shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Show<'a> {
    /// Colours for severities.
    pub colors: bool,
    /// What to call every file.
    pub path: Option<&'a str>,
    /// The version of the program.
    pub version: &'a str,
}

impl Format {
    /// The words for all of them.
    pub const NAMES: [&'static str; 10] = [
        "tty",
        "json",
        "checkstyle",
        "codeclimate",
        "gitlab_codeclimate",
        "gnu",
        "codacy",
        "sonarqube",
        "sarif",
        "junit",
    ];

    /// Whether tools that read it take a failure for a broken run.
    pub fn always_succeeds(self) -> bool {
        matches!(self, Format::Codeclimate | Format::Codacy)
    }

    /// The text.
    pub fn render(self, results: &[Checked], show: Show<'_>) -> String {
        match self {
            Format::Tty => tty::render(results, show),
            Format::Json => json::render(results),
            Format::Checkstyle => checkstyle::render(results, show),
            Format::Codeclimate => codeclimate::render(results, show),
            Format::GitlabCodeclimate => codeclimate::render_gitlab(results, show),
            Format::Gnu => gnu::render(results),
            Format::Codacy => codacy::render(results),
            Format::Sonarqube => sonarqube::render(results, show),
            Format::Sarif => sarif::render(results, show),
            Format::Junit => junit::render(results, show),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "tty" => Format::Tty,
            "json" => Format::Json,
            "checkstyle" => Format::Checkstyle,
            "codeclimate" => Format::Codeclimate,
            "gitlab_codeclimate" => Format::GitlabCodeclimate,
            "gnu" => Format::Gnu,
            "codacy" => Format::Codacy,
            "sonarqube" => Format::Sonarqube,
            "sarif" => Format::Sarif,
            "junit" => Format::Junit,
            _ => return Err(Error::Format { text: text.into() }),
        })
    }
}

/// All findings with the names of their files, what cannot be read first.
fn all(results: &[Checked]) -> impl Iterator<Item = (&str, &Finding)> {
    results.iter().flat_map(|checked| {
        checked.error.iter().chain(&checked.findings).map(|finding| (checked.file.as_str(), finding))
    })
}

/// A document and a line's end. These values hold nothing that JSON cannot.
fn document(value: &serde_json::Value) -> String {
    format!("{value}\n")
}
