//! One array of findings.

use super::{all, document};
use crate::lint::Checked;
use serde_json::{Value, json};

pub(super) fn render(results: &[Checked]) -> String {
    let findings = all(results).map(|(file, finding)| {
        json!({
            "code": finding.rule,
            "column": finding.column,
            "file": file,
            "level": finding.severity.name(),
            "line": finding.line,
            "message": finding.message,
        })
    });
    document(&Value::Array(findings.collect()))
}
