//! XML of JUnit: a suite a file, a failed case a finding.

use super::Show;
use super::xml::escaped;
use crate::lint::Checked;

pub(super) fn render(results: &[Checked], show: Show<'_>) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><testsuites id=\"hadolint\" name=\"dhow lint\">",
    );
    for checked in results {
        let file = show.path.unwrap_or(&checked.file);
        out.push_str(&format!(
            "<testsuite id=\"hadolint\" name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
            escaped(file),
            checked.findings.len() + usize::from(checked.error.is_some()),
            checked.findings.len(),
            usize::from(checked.error.is_some())
        ));
        for finding in checked.error.iter().chain(&checked.findings) {
            let (rule, severity) = (escaped(&finding.rule), finding.severity.name());
            let message = escaped(&finding.message);
            out.push_str(&format!(
                "<testcase id=\"hadolint.rule.{rule}\" name=\"{rule}\"><failure id=\"{rule}\" message=\"{message}\" \
                 type=\"{severity}\">File: {}\nLine: {}\n{severity}: {message}\n</failure></testcase>",
                escaped(file),
                finding.line
            ));
        }
        out.push_str("</testsuite>");
    }
    out.push_str("</testsuites>\n");
    out
}
