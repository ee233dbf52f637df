//! Where in a Dockerfile something stands.
//!
//! Offsets and columns count bytes; lines and columns start at 1. Columns in bytes keep the cost of a span
//! constant, however long a hostile line is; [`crate::render`] turns them into what a terminal shows.

use serde::{Deserialize, Serialize};

/// A stretch of the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
    /// Line of `start`.
    pub line: u32,
    /// Column of `start`.
    pub column: u32,
    /// Line of the last byte.
    pub end_line: u32,
}

impl Span {
    /// Its lines as BuildKit's documents have them, one by one and no more than so many: an instruction may have hundreds of
    /// thousands.
    pub fn ranges(&self, most: usize) -> Vec<Range> {
        let line = |line| Range { start: Position { line }, end: Position { line } };
        (self.line..=self.end_line.max(self.line)).take(most).map(line).collect()
    }
}

/// A line of a place.
#[derive(Debug, Clone, Serialize)]
pub struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Clone, Serialize)]
struct Position {
    line: u32,
}

/// Line starts of a text, to turn offsets into spans in logarithmic time.
#[derive(Debug, Clone)]
pub struct LineIndex {
    starts: Vec<usize>,
    len: usize,
}

impl LineIndex {
    /// Indexes `text`.
    pub fn new(text: &str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        Self { starts, len: text.len() }
    }

    /// The line that holds `offset`.
    pub fn line(&self, offset: usize) -> u32 {
        let offset = offset.min(self.len);
        self.starts.partition_point(|&s| s <= offset) as u32
    }

    /// The span of `start..end`.
    pub fn span(&self, start: usize, end: usize) -> Span {
        let (start, end) = (start.min(self.len), end.clamp(start, self.len.max(start)));
        let line = self.line(start);
        let last = if end > start { end - 1 } else { start };
        let column = (start - self.starts[line as usize - 1]) as u32 + 1;
        Span { start, end, line, column, end_line: self.line(last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_one_by_one() {
        let of = |line, end_line| -> Vec<u32> {
            let ranges = Span { line, end_line, ..Span::default() }.ranges(10);
            assert!(ranges.iter().all(|range| range.start.line == range.end.line));
            ranges.into_iter().map(|range| range.start.line).collect()
        };
        assert_eq!((of(3, 5), of(3, 3), of(3, 0)), (vec![3, 4, 5], vec![3], vec![3]));
        assert_eq!(of(1, u32::MAX).len(), 10);
    }

    #[test]
    fn spans_know_lines_and_columns() {
        let index = LineIndex::new("ab\ncd\n");
        assert_eq!(index.span(0, 2), Span { start: 0, end: 2, line: 1, column: 1, end_line: 1 });
        assert_eq!(index.span(4, 5), Span { start: 4, end: 5, line: 2, column: 2, end_line: 2 });
        assert_eq!(index.span(1, 5).end_line, 2);
        assert_eq!(index.span(99, 120).line, 3);
    }
}
