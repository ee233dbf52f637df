//! One document a finding, for Codacy.

use super::{all, document};
use crate::lint::Checked;
use serde_json::json;

pub(super) fn render(results: &[Checked]) -> String {
    let documents = all(results).map(|(file, finding)| {
        document(&json!({
            "filename": file,
            "line": finding.line,
            "message": finding.message,
            "patternId": finding.rule,
        }))
    });
    documents.collect()
}
