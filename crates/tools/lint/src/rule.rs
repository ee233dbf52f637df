//! What a rule is, and what it finds.

use crate::config::Settings;
use crate::view::View;
use serde::{Deserialize, Serialize};

/// How bad a finding is; the worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Wrong.
    Error,
    /// Probably wrong.
    Warning,
    /// Could be better.
    Info,
    /// A matter of taste.
    Style,
    /// Not told.
    #[serde(alias = "none")]
    Ignore,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
            Severity::Style => "style",
            Severity::Ignore => "ignore",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            "info" => Severity::Info,
            "style" => Severity::Style,
            "ignore" | "none" => Severity::Ignore,
            _ => {
                return Err(format!(
                    "invalid severity: {text} (error, warning, info, style, ignore or none)"
                ));
            }
        })
    }
}

/// Looks at a file and tells the lines that it has something to say about.
pub(crate) type Check = fn(&View<'_>, &Settings, &mut Vec<Told>);

/// A line, and what is said about it.
pub(crate) type Told = (u32, String);

/// A rule.
pub struct Rule {
    /// Its name.
    pub id: &'static str,
    /// How bad it is unless settings say otherwise.
    pub severity: Severity,
    pub(crate) check: Check,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// Where.
    pub line: u32,
    /// Where in the line, from 1.
    pub column: u32,
}
