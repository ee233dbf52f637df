//! From physical to logical lines: parser directives, comments, continuations, here-documents.
//!
//! One pass, linear in the size of the text. The rules are BuildKit's (`frontend/dockerfile/parser`): comment
//! lines and blank lines inside a continuation vanish, a here-document's body is taken verbatim.

use crate::ast::{Comment, Directives, Heredoc, Word};
use crate::error::{Error, Warning};
use crate::span::{LineIndex, Span};
use crate::{check, heredoc, words};

/// A logical line with the way back to the source.
#[derive(Debug)]
pub(crate) struct Logical {
    /// The joined text, trimmed on the left.
    pub text: String,
    /// (offset in `text`, offset in the source), ascending.
    pieces: Vec<(usize, usize)>,
    /// From the first byte of the instruction to the last, heredoc bodies included.
    pub span: Span,
    /// Here-documents in order.
    pub heredocs: Vec<Heredoc>,
    /// Comment lines right above.
    pub comments: Vec<String>,
}

impl Logical {
    /// The line from `at` on, as an instruction of its own (`ONBUILD`).
    pub fn tail(&self, at: usize) -> Self {
        let first = (0, self.source_offset(at));
        let rest = self.pieces.iter().filter(|p| p.0 > at).map(|p| (p.0 - at, p.1));
        let pieces = std::iter::once(first).chain(rest).collect();
        let (text, heredocs) = (self.text[at..].to_string(), self.heredocs.clone());
        Self { text, pieces, span: self.span, heredocs, comments: Vec::new() }
    }

    fn source_offset(&self, at: usize) -> usize {
        let i = self.pieces.partition_point(|p| p.0 <= at).saturating_sub(1);
        let (text, source) = self.pieces[i];
        source + (at - text.min(at))
    }

    /// The source span of `from..to` in the joined text.
    pub fn place(&self, index: &LineIndex, from: usize, to: usize) -> Span {
        let start = self.source_offset(from);
        let end = if to > from { self.source_offset(to - 1) + 1 } else { start };
        index.span(start, end.max(start))
    }
}

/// Everything that the first pass finds.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub directives: Directives,
    pub lines: Vec<Logical>,
    pub comments: Vec<Comment>,
    pub warnings: Vec<Warning>,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    index: &'a LineIndex,
    escape: char,
}

/// Removes the line end.
fn trim_newline(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

impl<'a> Scanner<'a> {
    /// The next physical line with its offset.
    fn next(&mut self) -> Option<(usize, &'a str)> {
        if self.at >= self.text.len() {
            return None;
        }
        let start = self.at;
        let rest = &self.text[start..];
        let len = rest.find('\n').map_or(rest.len(), |i| i + 1);
        self.at += len;
        Some((start, &rest[..len]))
    }

    /// The line without a continuation mark, and whether the instruction ends here. An escape character
    /// that is itself escaped does not continue.
    fn continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        let Some(head) = trimmed.strip_suffix(self.escape) else { return (line, true) };
        if head.ends_with(self.escape) { (line, true) } else { (head, false) }
    }
}

/// Splits `text` into logical lines.
pub(crate) fn scan(text: &str, index: &LineIndex) -> Result<Scanned, Error> {
    let (directives, body) = directives(text, index)?;
    let mut s = Scanner { text, at: body, index, escape: directives.escape };
    let mut out = Scanned { directives, lines: Vec::new(), comments: Vec::new(), warnings: Vec::new() };
    let mut comments = Vec::new();
    while let Some((start, raw)) = s.next() {
        if is_comment(raw) {
            let text = trim_newline(raw).trim_start()[1..].trim().to_string();
            out.comments.push(Comment { text: text.clone(), line: index.line(start) });
            match text.is_empty() {
                true => comments.clear(),
                false => comments.push(text),
            }
            continue;
        }
        let line = trim_newline(raw);
        let content = line.trim_start();
        if content.is_empty() {
            continue;
        }
        let lead = line.len() - content.len();
        let (head, done) = s.continuation(content);
        if !done && head.is_empty() {
            continue;
        }
        let mut logical = join(&mut s, start + lead, head, done, &mut out.warnings);
        logical.comments = std::mem::take(&mut comments);
        read_heredocs(&mut s, &mut logical)?;
        out.lines.push(logical);
    }
    if out.lines.is_empty() {
        return Err(Error::new("file with no instructions", index.span(text.len(), text.len())));
    }
    Ok(out)
}

/// Gathers the continuation lines of one instruction.
fn join(s: &mut Scanner<'_>, start: usize, head: &str, done: bool, warnings: &mut Vec<Warning>) -> Logical {
    let mut text = head.to_string();
    let mut pieces = vec![(0, start)];
    let mut end = start + head.len();
    let mut done = done;
    let mut empty: Option<Span> = None;
    while !done {
        let Some((at, raw)) = s.next() else { break };
        if is_comment(raw) {
            continue;
        }
        let line = trim_newline(raw);
        if line.trim().is_empty() {
            empty.get_or_insert(s.index.span(at, at));
            continue;
        }
        let (part, last) = s.continuation(line);
        pieces.push((text.len(), at));
        text.push_str(part);
        end = at + part.len();
        done = last;
    }
    if let Some(span) = empty {
        warnings.push(Warning {
            rule: "NoEmptyContinuation".into(),
            message: "Empty continuation line".into(),
            span,
            help: Some("remove the blank line, or put a comment on it".into()),
        });
    }
    text.truncate(text.trim_end().len());
    let span = s.index.span(start, end.max(start));
    Logical { text, pieces, span, heredocs: Vec::new(), comments: Vec::new() }
}

/// Reads the bodies of the here-documents that the line opens.
fn read_heredocs(s: &mut Scanner<'_>, line: &mut Logical) -> Result<(), Error> {
    if !line.text.contains("<<") || !words::can_hold_heredoc(&line.text) {
        return Ok(());
    }
    for mut doc in heredoc::find(&line.text, s.escape) {
        let start = s.at;
        let mut end = None;
        while let Some((at, raw)) = s.next() {
            let mut candidate = trim_newline(raw);
            if doc.strip_tabs {
                candidate = candidate.trim_start_matches('\t');
            }
            if candidate == doc.name {
                end = Some(at);
                break;
            }
        }
        let Some(end) = end else {
            return Err(Error::new("unterminated heredoc", line.span)
                .help(format!("add a line that holds only `{}`", doc.name)));
        };
        doc.body = s.text[start..end].to_string();
        doc.span = s.index.span(start, end);
        line.span.end = s.at;
        line.span.end_line = s.index.line(s.at.saturating_sub(1));
        line.heredocs.push(doc);
    }
    Ok(())
}

/// Reads `# key=value` lines at the top; returns them and where the rest begins.
fn directives(text: &str, index: &LineIndex) -> Result<(Directives, usize), Error> {
    let mut found = Directives { escape: '\\', syntax: None, check: None, strict: false };
    let mut seen: Vec<String> = Vec::new();
    // A file may be a program that builds itself.
    let first = text.split_inclusive('\n').next().unwrap_or_default();
    let mut at = if first.starts_with("#!") { first.len() } else { 0 };
    for raw in text[at..].split_inclusive('\n') {
        let line = trim_newline(raw);
        let Some((key, value, column)) = directive(line) else { break };
        let place = index.span(at, at + line.len());
        if !["escape", "syntax", "check", "dhow"].contains(&key.as_str()) {
            break;
        }
        if seen.contains(&key) {
            return Err(Error::new(format!("only one {key} parser directive can be used"), place));
        }
        match key.as_str() {
            "escape" => {
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let message = format!("invalid ESCAPE '{value}'. Must be ` or \\");
                        return Err(Error::new(message, place));
                    }
                };
            }
            "syntax" => {
                let start = at + column;
                let span = index.span(start, start + value.len());
                found.syntax = Some(Word { text: value.to_string(), span });
            }
            "check" => {
                let settings = value.split(' ').next().unwrap_or_default();
                let settings = check::parse(settings).map_err(|why| {
                    Error::new(format!("failed to parse check options: {why}"), place)
                        .help("write `# check=skip=RULE,RULE;error=true`")
                })?;
                found.check = Some(settings);
            }
            "dhow" => found.strict = value.eq_ignore_ascii_case("strict"),
            _ => {}
        }
        seen.push(key);
        at += raw.len();
    }
    Ok((found, at))
}

/// `# key = value`, with the value's column.
fn directive(line: &str) -> Option<(String, &str, usize)> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    let (key, value) = rest.split_once('=')?;
    let key = key.trim_end();
    let mut letters = key.chars();
    if !letters.next()?.is_ascii_alphabetic() || !letters.all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    let column = value.as_ptr() as usize - line.as_ptr() as usize;
    Some((key.to_ascii_lowercase(), value, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        let index = LineIndex::new(source);
        scan(source, &index).unwrap().lines.into_iter().map(|l| l.text).collect()
    }

    #[test]
    fn continuations_skip_comments_and_blanks() {
        let source = "# top\nRUN a \\\n  # why\n  b \\\n\n  c\nRUN d\\\\\nCMD x\n";
        assert_eq!(texts(source), ["RUN a   b   c", "RUN d\\\\", "CMD x"]);
    }

    #[test]
    fn blank_inside_continuation_warns() {
        let source = "RUN a \\\n\n b\n";
        let index = LineIndex::new(source);
        let scanned = scan(source, &index).unwrap();
        assert_eq!(scanned.warnings[0].rule, "NoEmptyContinuation");
        assert_eq!(scanned.warnings[0].span.line, 2);
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        let source = "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=A,B;error=true\nRUN a `\n b\n";
        let index = LineIndex::new(source);
        let scanned = scan(source, &index).unwrap();
        assert_eq!(scanned.directives.escape, '`');
        assert_eq!(scanned.directives.syntax.as_ref().unwrap().text, "docker/dockerfile:1");
        assert_eq!(scanned.directives.check.as_ref().unwrap().skip, ["A", "B"]);
        assert!(scanned.directives.check.as_ref().unwrap().error);
        assert_eq!(scanned.lines[0].text, "RUN a  b");

        let source = "# a comment\n# escape=`\nRUN a\n";
        assert_eq!(scan(source, &LineIndex::new(source)).unwrap().directives.escape, '\\');
    }

    #[test]
    fn bad_directives_are_errors() {
        for (source, message) in [
            ("# escape=x\nFROM a", "invalid ESCAPE 'x'. Must be ` or \\"),
            ("# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used"),
            ("# nothing\n\n", "file with no instructions"),
            ("RUN <<EOF\nx\n", "unterminated heredoc"),
        ] {
            assert_eq!(scan(source, &LineIndex::new(source)).unwrap_err().message, message);
        }
    }

    #[test]
    fn heredocs_are_taken_verbatim() {
        let source = "COPY <<A <<-\"B\" /x\n# not a comment\nA\n\tindented \\\n\tB\nRUN y\n";
        let index = LineIndex::new(source);
        let lines = scan(source, &index).unwrap().lines;
        let docs = &lines[0].heredocs;
        assert_eq!(docs[0].body, "# not a comment\n");
        assert!(docs[0].expand && !docs[1].expand && docs[1].strip_tabs);
        assert_eq!(docs[1].content(), "indented \\\n");
        assert_eq!(lines[0].span.end_line, 5);
        assert_eq!(lines[1].text, "RUN y");
    }

    #[test]
    fn places_survive_continuations() {
        let source = "RUN a \\\n  bb\n";
        let index = LineIndex::new(source);
        let line = &scan(source, &index).unwrap().lines[0];
        let at = line.text.find("bb").unwrap();
        let span = line.place(&index, at, at + 2);
        assert_eq!((span.line, span.column), (2, 3));
    }
}
