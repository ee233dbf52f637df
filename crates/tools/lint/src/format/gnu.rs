//! `program:file:line: rule severity: message`, as the GNU coding standards have error messages.

use crate::lint::Checked;

pub(super) fn render(results: &[Checked]) -> String {
    let mut out = String::new();
    for checked in results {
        if let Some(error) = &checked.error {
            let place = format!("{}:{}:{}", checked.file, error.line, error.column);
            out.push_str(&format!("hadolint:{place}: {}\n", error.message));
        }
        for finding in &checked.findings {
            out.push_str(&format!(
                "hadolint:{}:{}: {} {}: {}\n",
                checked.file,
                finding.line,
                finding.rule,
                finding.severity.name(),
                finding.message
            ));
        }
    }
    out
}
