//! Issues of Code Climate, and of GitLab, which wants an array and fingerprints.

use super::{Show, all, document};
use crate::lint::Checked;
use crate::rule::{Finding, Severity};
use oci::Digest;
use serde_json::{Value, json};

pub(super) fn render(results: &[Checked], show: Show<'_>) -> String {
    all(results).map(|(file, finding)| format!("{}\0", issue(show.path.unwrap_or(file), finding))).collect()
}

pub(super) fn render_gitlab(results: &[Checked], show: Show<'_>) -> String {
    let issues = all(results).map(|(file, finding)| {
        let mut issue = issue(show.path.unwrap_or(file), finding);
        let digest = Digest::sha256(issue.to_string().as_bytes()).to_string();
        let digits = digest.split_once(':').map_or(digest.as_str(), |(_, digits)| digits);
        issue["fingerprint"] = Value::from(digits);
        issue
    });
    document(&Value::Array(issues.collect()))
}

fn issue(file: &str, finding: &Finding) -> Value {
    let severity = match finding.severity {
        Severity::Error => "blocker",
        Severity::Warning => "major",
        Severity::Info => "info",
        Severity::Style | Severity::Ignore => "minor",
    };
    json!({
        "type": "issue",
        "check_name": finding.rule,
        "description": finding.message,
        "categories": ["Bug Risk"],
        "location": {"path": file, "lines": {"begin": finding.line, "end": finding.line}},
        "severity": severity,
    })
}
