//! SARIF 2.1.0, which code hosts show beside the code.

use super::{Show, all, document};
use crate::lint::Checked;
use crate::rule::Severity;
use serde_json::{Value, json};

pub(super) fn render(results: &[Checked], show: Show<'_>) -> String {
    let found = all(results).map(|(file, finding)| {
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info | Severity::Style | Severity::Ignore => "note",
        };
        json!({
            "ruleId": finding.rule,
            "level": level,
            "message": {"text": finding.message},
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": {"uri": file},
                    "region": {
                        "startLine": finding.line,
                        "endLine": finding.line,
                        "startColumn": finding.column,
                        "endColumn": finding.column,
                        "sourceLanguage": "dockerfile",
                    },
                },
            }],
        })
    });
    document(&json!({
        "version": "2.1.0",
        "$schema": "http://json.schemastore.org/sarif-2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "Dhow",
                "fullName": "dhow lint",
                "version": show.version,
                "shortDescription": {"text": "Rules for Dockerfiles"},
            }},
            "results": Value::Array(found.collect()),
            "defaultSourceLanguage": "dockerfile",
        }],
    }))
}
