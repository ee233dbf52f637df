//! `file:line rule severity: message`, with nothing in it that a terminal obeys but our own colours.

use super::Show;
use crate::lint::Checked;
use crate::rule::Severity;

pub(super) fn render(results: &[Checked], show: Show<'_>) -> String {
    let mut out = String::new();
    for checked in results {
        let file = plain(&checked.file);
        if let Some(error) = &checked.error {
            let place = format!("{file}:{}:{}", error.line, error.column);
            let (severity, message) = (severity(error.severity, show), plain(&error.message));
            out.push_str(&format!("{place} {severity}: {message}\n"));
        }
        for finding in &checked.findings {
            let severity = severity(finding.severity, show);
            let (rule, message) = (&finding.rule, plain(&finding.message));
            out.push_str(&format!("{file}:{} {rule} {severity}: {message}\n", finding.line));
        }
    }
    out
}

fn severity(severity: Severity, show: Show<'_>) -> String {
    let color = match severity {
        _ if !show.colors => return severity.name().into(),
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
        Severity::Info => "32",
        Severity::Style => "36",
        Severity::Ignore => return severity.name().into(),
    };
    format!("\x1b[{color}m{}\x1b[0m", severity.name())
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
