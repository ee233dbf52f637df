//! Showing a place of a Dockerfile, as BuildKit does, with a caret where the place is less than a line.
//!
//! ```text
//! Dockerfile:3
//! --------------------
//!    1 |     FROM busybox
//!    2 |     
//!    3 | >>> COPY --form=x a b
//!      |          ^^^^^^^^
//! --------------------
//! ```

use crate::span::Span;
use std::fmt::Write as _;

/// Lines shown above and below.
const AROUND: u32 = 2;
/// Longest line shown whole.
const WIDTH: usize = 200;
/// Most lines of the marked range shown.
const MARKED: u32 = 24;

/// The lines around `span`, the lines of `span` marked.
pub fn excerpt(file: &str, source: &str, span: Span) -> String {
    let first = span.line.max(1);
    let last = span.end_line.max(first).min(first + MARKED);
    let from = first.saturating_sub(AROUND).max(1);
    let mut out = format!("{file}:{first}\n--------------------\n");
    let lines = source.lines().enumerate().skip(from as usize - 1);
    for (i, line) in lines.take((last + AROUND - from + 1) as usize) {
        let number = i as u32 + 1;
        let marked = (first..=last).contains(&number);
        let prefix = if marked { ">>>" } else { "   " };
        let _ = writeln!(out, " {number:>3} | {prefix} {}", clipped(line));
        if number == first
            && first == span.end_line.max(first)
            && let Some(caret) = caret(line, span)
        {
            let _ = writeln!(out, "     |     {caret}");
        }
    }
    out.push_str("--------------------\n");
    out
}

/// An excerpt with its message and help.
pub fn report(file: &str, source: &str, span: Span, message: &str, help: Option<&str>) -> String {
    let mut out = excerpt(file, source, span);
    let _ = writeln!(out, "{message}");
    if let Some(help) = help {
        let _ = writeln!(out, "help: {help}");
    }
    out
}

fn clipped(line: &str) -> String {
    let mut text: String = line.chars().take(WIDTH).map(visible).collect();
    if line.chars().nth(WIDTH).is_some() {
        text.push('…');
    }
    text
}

/// Control characters must not reach a terminal.
fn visible(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

/// `^^^` under the span, unless it covers the whole line anyway.
fn caret(line: &str, span: Span) -> Option<String> {
    let start = (span.column as usize).checked_sub(1)?;
    let width = span.end.checked_sub(span.start)?;
    let before = line.get(..start)?;
    let under = line.get(start..(start + width).min(line.len()))?;
    if under.trim().len() == line.trim().len() || under.is_empty() || line.len() > WIDTH {
        return None;
    }
    let pad: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    Some(pad + &"^".repeat(under.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::LineIndex;

    #[test]
    fn marks_lines_and_columns() {
        let source = "FROM busybox\n\nCOPY --form=x a b\nRUN a\nCMD b\nCMD c\n";
        let at = source.find("--form").unwrap();
        let span = LineIndex::new(source).span(at, at + 8);
        let want = "\
Dockerfile:3
--------------------
   1 |     FROM busybox
   2 |     
   3 | >>> COPY --form=x a b
     |          ^^^^^^^^
   4 |     RUN a
   5 |     CMD b
--------------------
boo
help: write --from
";
        assert_eq!(report("Dockerfile", source, span, "boo", Some("write --from")), want);
    }

    #[test]
    fn a_whole_line_has_no_caret() {
        let source = "FROM a\nRUN false\n";
        let span = LineIndex::new(source).span(7, 16);
        assert!(!excerpt("Dockerfile", source, span).contains('^'));
        assert!(excerpt("Dockerfile", "", Span::default()).starts_with("Dockerfile:1"));
    }
}
