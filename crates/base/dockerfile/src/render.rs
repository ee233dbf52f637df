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
use std::borrow::Cow;
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
    let lines = (from - 1..).zip(source[start(source, span, from)..].lines());
    for (i, line) in lines.take((last + AROUND - from + 1) as usize) {
        let number = i + 1;
        let marked = (first..=last).contains(&number);
        let prefix = if marked { ">>>" } else { "   " };
        let _ = writeln!(out, " {number:>3} | {prefix} {}", clipped(line, WIDTH));
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

/// Where line `from`, the line of `span` or one shortly above it, begins: looked for from the place itself, for a file may
/// have as many places to show as it has lines.
fn start(source: &str, span: Span, from: u32) -> usize {
    let line = (span.column as usize).checked_sub(1).and_then(|column| span.start.checked_sub(column));
    let above =
        line.and_then(|at| source.get(..at)).filter(|above| above.is_empty() || above.ends_with('\n'));
    match above {
        Some(above) => {
            let mut ends = above.rmatch_indices('\n').map(|(at, _)| at + 1);
            ends.nth((span.line.max(1) - from) as usize).unwrap_or(0)
        }
        // The place is none of this text.
        None => source.split_inclusive('\n').take(from as usize - 1).map(str::len).sum(),
    }
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

/// A line of at most so many characters, none of which is a command for a terminal.
pub fn clipped(line: &str, width: usize) -> String {
    let mut text: String = line.chars().take(width).map(visible).collect();
    if line.chars().nth(width).is_some() {
        text.push('…');
    }
    text
}

/// Longest word of a message.
const WORD: usize = 300;
/// What is left of a longer one at its beginning and at its end.
const ENDS: (usize, usize) = (180, 60);

/// A message in which words (names and paths, usually) that are too long to be read have their middle left out.
pub fn shortened(message: &str) -> Cow<'_, str> {
    let is_long = |word: &str| word.len() > WORD && word.chars().nth(WORD).is_some();
    if !message.split(char::is_whitespace).any(is_long) {
        return Cow::Borrowed(message);
    }
    let mut out = String::with_capacity(message.len().min(4096));
    for piece in message.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        if !is_long(word) {
            out.push_str(piece);
            continue;
        }
        let count = word.chars().count();
        out.extend(word.chars().take(ENDS.0));
        out.push('…');
        out.extend(word.chars().skip(count - ENDS.1));
        out.push_str(&piece[word.len()..]);
    }
    Cow::Owned(out)
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

    /// Seconds that this thread has worked.
    fn clock() -> i64 {
        rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec
    }

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

    /// As many places as lines, each at the end of a long file.
    #[test]
    fn places_are_not_looked_for_from_the_top() {
        let source = "FROM a\n".to_owned() + &"\n".repeat(2 << 20) + "RUN x\nRUN y\n";
        let span = LineIndex::new(&source).span(source.len() - 6, source.len() - 1);
        let begun = clock();
        let shown = excerpt("Dockerfile", &source, span);
        assert!(
            shown.ends_with(" | >>> RUN y\n--------------------\n") && shown.contains("    RUN x\n"),
            "{shown}"
        );
        for _ in 0..100_000 {
            assert_eq!(excerpt("Dockerfile", &source, span).len(), shown.len());
        }
        assert!(clock() - begun < 20);
        for line in 1..=6 {
            let source = "1\n2\n3\n4\n5\n6";
            let at = (line as usize - 1) * 2;
            let span = LineIndex::new(source).span(at, at + 1);
            let by_number = Span { start: 3, column: 1, ..span };
            assert_eq!(
                excerpt("f", source, span),
                excerpt("f", source, by_number).replace('^', ""),
                "{line}"
            );
        }
    }

    #[test]
    fn long_words_lose_their_middle() {
        let long = format!("open /{}/end: no such file", "x".repeat(4000));
        let short = shortened(&long);
        assert!(short.len() < 320 && short.starts_with("open /xxx") && short.ends_with("/end: no such file"));
        assert_eq!(short.matches('…').count(), 1);
        let wide = "ß".repeat(400);
        assert_eq!(shortened(&wide).chars().count(), ENDS.0 + 1 + ENDS.1);
        let many = "word ".repeat(1000) + &"y".repeat(WORD);
        assert!(matches!(shortened(&many), Cow::Borrowed(_)));
    }

    #[test]
    fn a_whole_line_has_no_caret() {
        let source = "FROM a\nRUN false\n";
        let span = LineIndex::new(source).span(7, 16);
        assert!(!excerpt("Dockerfile", source, span).contains('^'));
        assert!(excerpt("Dockerfile", "", Span::default()).starts_with("Dockerfile:1"));
    }
}
