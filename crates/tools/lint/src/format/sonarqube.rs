//! Generic issues of SonarQube.

use super::{Show, all, document};
use crate::lint::Checked;
use crate::rule::Severity;
use serde_json::{Value, json};

pub(super) fn render(results: &[Checked], show: Show<'_>) -> String {
    let issues = all(results).map(|(file, finding)| {
        let (severity, kind) = match finding.severity {
            Severity::Error if finding.rule == crate::lint::UNREADABLE => ("BLOCKER", "BUG"),
            Severity::Error => ("CRITICAL", "BUG"),
            Severity::Warning => ("MAJOR", "CODE_SMELL"),
            Severity::Info => ("MINOR", "CODE_SMELL"),
            Severity::Style | Severity::Ignore => ("INFO", "CODE_SMELL"),
        };
        json!({
            "engineId": "Hadolint",
            "ruleId": finding.rule,
            "severity": severity,
            "type": kind,
            "primaryLocation": {
                "message": finding.message,
                "filePath": show.path.unwrap_or(file),
                "textRange": {
                    "startLine": finding.line,
                    "endLine": finding.line,
                    "startColumn": 0,
                    "endColumn": 1,
                },
            },
        })
    });
    document(&json!({ "issues": Value::Array(issues.collect()) }))
}
