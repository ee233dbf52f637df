//! A file through all rules.

use crate::config::Settings;
use crate::pragma::Pragmas;
use crate::rule::{Finding, Rule, Severity};
use crate::rules::RULES;
use crate::view::View;
use dockerfile::ast::Dockerfile;
use dockerfile::check::{Surroundings, check};
use oci::Platform;
use std::collections::BTreeMap;

/// The rule that a file breaks which cannot be read.
pub(crate) const UNREADABLE: &str = "DL1000";

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The file, as it was named.
    pub file: String,
    /// Why it cannot be read: then nothing else is known.
    pub error: Option<Finding>,
    /// What rules say, in the order of lines.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Whether there is something of this severity or worse.
    pub fn fails(&self, threshold: Severity) -> bool {
        self.error.is_some() || self.findings.iter().any(|finding| finding.severity <= threshold)
    }
}

/// Checks the text of a file.
pub fn lint(name: &str, bytes: &[u8], settings: &Settings) -> Checked {
    let options = dockerfile::Options { lenient: true, ..Default::default() };
    let read = dockerfile::decode(bytes).and_then(|text| dockerfile::parse(&text, options));
    let file = match read {
        Ok(file) => file,
        Err(error) => {
            let finding = Finding {
                rule: UNREADABLE.into(),
                severity: Severity::Error,
                message: error.message,
                line: error.span.line.max(1),
                column: error.span.column.max(1),
            };
            return Checked { file: name.into(), error: Some(finding), findings: Vec::new() };
        }
    };
    let mut findings = by_rules(&file, settings);
    findings.extend(by_checks(&file, settings));
    let pragmas = if settings.disable_ignore_pragma { Pragmas::default() } else { Pragmas::new(&file) };
    findings.retain(|finding| !pragmas.silence(&finding.rule, finding.line));
    for finding in &mut findings {
        finding.severity = settings.severity(&finding.rule, finding.severity);
    }
    findings.retain(|finding| finding.severity != Severity::Ignore);
    findings.sort_by(|a, b| (a.line, &a.rule).cmp(&(b.line, &b.rule)));
    Checked { file: name.into(), error: None, findings }
}

fn by_rules(file: &Dockerfile, settings: &Settings) -> Vec<Finding> {
    let view = View::new(file);
    let mut findings = Vec::new();
    let mut told = Vec::new();
    let is_on = |rule: &&Rule| settings.severity(rule.id, rule.severity) != Severity::Ignore;
    for rule in RULES.iter().filter(is_on) {
        (rule.check)(&view, settings, &mut told);
        findings.extend(told.drain(..).map(|(line, message)| Finding {
            rule: rule.id.into(),
            severity: rule.severity,
            message,
            line,
            column: 1,
        }));
    }
    findings
}

/// What a build would warn of: all of it where that is wanted, else what the parser noticed.
fn by_checks(file: &Dockerfile, settings: &Settings) -> Vec<Finding> {
    let (args, platform) = (BTreeMap::new(), Platform::host());
    let around = Surroundings {
        build_args: &args,
        target: None,
        platform: &platform,
        build_platform: &platform,
        image: &|_, _| None,
        suits: &|_| false,
        ignore: None,
        stages: None,
    };
    // Nor may it be silent where it has not said all.
    let own = ["TrailingComment", "InvalidJSONArray", "MoreWarnings"];
    let warnings = if file.stages.is_empty() { file.warnings.clone() } else { check(file, &around) };
    let wanted = warnings.into_iter().filter(|w| settings.build_checks || own.contains(&w.rule.as_str()));
    let finding = |w: dockerfile::Warning| Finding {
        line: file.lines(&w).0.max(1),
        column: if file.lines(&w).0 == w.span.line { w.span.column.max(1) } else { 1 },
        severity: Severity::Warning,
        message: w.message,
        rule: w.rule,
    };
    wanted.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Partial;

    /// A long chain of stages, with what rules look for in each: no rule looks through all of it for each of them.
    #[test]
    fn long_chains_of_stages() {
        let seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
        let stage = |n: usize| {
            format!(
                "FROM s{} AS s{n}\nLABEL a=b\nCOPY --from=s0 /x /\nRUN apt-get update\nHEALTHCHECK CMD x\n",
                n - 1
            )
        };
        let text = "FROM scratch AS s0\n".to_owned() + &(1..9_000).map(stage).collect::<String>();
        let severities = "override:\n  info: [DL3057]\nlabel-schema:\n  a: text\n  b: text\n";
        let begun = seconds();
        for settings in
            [Settings::default(), Settings::merged([Partial::read("x", severities.as_bytes()).unwrap()])]
        {
            let checked = lint("Dockerfile", text.as_bytes(), &settings);
            assert!(checked.error.is_none() && checked.findings.iter().all(|f| f.rule != "DL3057"));
        }
        assert!(seconds() - begun < 60, "{} s", seconds() - begun);
    }
}
