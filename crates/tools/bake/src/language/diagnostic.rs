//! What is wrong in a file, and where: in HCL's words, with the source shown as BuildKit shows it.

use std::fmt::Write as _;

/// A file of definitions.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file, counted in the order in which they were read.
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

impl Place {
    /// From here to the end of another place.
    pub fn to(self, other: Place) -> Place {
        Place { end: other.end, ..self }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub place: Place,
    pub summary: String,
    pub detail: String,
}

/// All that is wrong; at least one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn one(place: Place, summary: impl Into<String>, detail: impl Into<String>) -> Diagnostics {
        Diagnostics(vec![Diagnostic { place, summary: summary.into(), detail: detail.into() }])
    }

    pub fn and(mut self, other: Diagnostics) -> Diagnostics {
        self.0.extend(other.0);
        self
    }

    /// In one line: the first, and how many more there are.
    pub fn line(&self, sources: &[Source]) -> String {
        let Some(first) = self.0.first() else { return String::new() };
        let place = position(&first.place, sources);
        let more = match self.0.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} other diagnostic(s)"),
        };
        format!("{place}: {}; {}{more}", first.summary, first.detail)
    }

    /// The lines of the source around the first, and the line that says what is wrong.
    pub fn report(&self, sources: &[Source]) -> String {
        let mut out = String::new();
        if let Some((source, first)) = self.0.first().and_then(|d| Some((sources.get(d.place.file)?, d))) {
            excerpt(source, &first.place, &mut out);
        }
        out + &self.line(sources)
    }
}

/// Line and column of a byte, both from one; columns count characters.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let offset = text.floor_char_boundary(offset);
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// `file:line,column-column`.
pub fn position(place: &Place, sources: &[Source]) -> String {
    let Some(source) = sources.get(place.file) else { return String::new() };
    let (line, column) = line_column(&source.text, place.start);
    match line_column(&source.text, place.end) {
        (end, last) if end == line => format!("{}:{line},{column}-{last}", source.name),
        (end, last) => format!("{}:{line},{column}-{end},{last}", source.name),
    }
}

fn excerpt(source: &Source, place: &Place, out: &mut String) {
    let (first, _) = line_column(&source.text, place.start);
    let (last, _) = line_column(&source.text, place.end);
    let lines: Vec<&str> = source.text.split('\n').collect();
    // More lines than are marked, on both sides as far as there are some: as many as BuildKit shows.
    let (mut from, mut to) = (first, last.min(lines.len()));
    let (most, mut shown) = (if first == last { 4 } else { 2 }, 0);
    while shown < most {
        if from > 1 {
            from -= 1;
            shown += 1;
        }
        if to < lines.len() {
            to += 1;
            shown += 1;
        }
        shown += 1;
    }
    let rule = "--------------------";
    let _ = writeln!(out, "{}:{first}\n{rule}", source.name);
    for (at, line) in lines.iter().enumerate().take(to).skip(from - 1) {
        let mark = if (first..=last).contains(&(at + 1)) { ">>>" } else { "   " };
        let _ = writeln!(out, " {:>3} | {mark} {}", at + 1, line.trim_end_matches('\r'));
    }
    let _ = writeln!(out, "{rule}");
}
