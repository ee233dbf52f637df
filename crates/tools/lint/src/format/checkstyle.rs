//! XML of Checkstyle: an element a file, in it one a finding.

use super::Show;
use super::xml::escaped;
use crate::lint::Checked;

pub(super) fn render(results: &[Checked], show: Show<'_>) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><checkstyle version=\"4.3\">");
    for checked in results {
        let findings: Vec<_> = checked.error.iter().chain(&checked.findings).collect();
        out.push_str(&format!("<file name=\"{}\"", escaped(show.path.unwrap_or(&checked.file))));
        if findings.is_empty() {
            out.push_str("/>");
            continue;
        }
        out.push('>');
        for finding in findings {
            out.push_str(&format!(
                "<error column=\"{}\" line=\"{}\" message=\"{}\" severity=\"{}\" source=\"{}\"/>",
                finding.column,
                finding.line,
                escaped(&finding.message),
                finding.severity.name(),
                escaped(&finding.rule)
            ));
        }
        out.push_str("</file>");
    }
    out.push_str("</checkstyle>\n");
    out
}
