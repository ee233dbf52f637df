//! Columns as Go's `text/tabwriter` aligns them, because Docker's tables are its output byte for byte.
//!
//! A cell is text that ends with a tab; what follows the last tab of a line belongs to no column. A column is
//! a run of consecutive lines that have a cell there, as wide as its widest cell plus the padding.

use crate::format::text::printable;

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// `text`, with its tabs replaced by padding; widths are Docker's (at least 10, 3 between columns).
pub fn align(text: &str) -> String {
    align_with(text, MIN_WIDTH, PADDING)
}

/// As [`align`], with other measures: some of Docker's tables use their own.
pub fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let text = &printable(text);
    let ends_with_newline = text.ends_with('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<Vec<&str>> = body.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut table = Table { lines, widths: Vec::new(), min_width, padding, out: String::new() };
    table.block(0, table.lines.len());
    if !ends_with_newline {
        table.out.pop();
    }
    table.out
}

struct Table<'a> {
    lines: Vec<Vec<&'a str>>,
    /// Widths of the columns that the current block of lines is inside of.
    widths: Vec<usize>,
    min_width: usize,
    padding: usize,
    out: String,
}

impl Table<'_> {
    fn has_cell(&self, line: usize, column: usize) -> bool {
        column + 1 < self.lines[line].len()
    }

    fn block(&mut self, start: usize, end: usize) {
        let column = self.widths.len();
        let mut written = start;
        let mut line = start;
        while line < end {
            if !self.has_cell(line, column) {
                line += 1;
                continue;
            }
            self.write(written, line);
            let first = line;
            let mut width = self.min_width;
            while line < end && self.has_cell(line, column) {
                width = width.max(self.lines[line][column].chars().count() + self.padding);
                line += 1;
            }
            self.widths.push(width);
            self.block(first, line);
            self.widths.pop();
            written = line;
        }
        self.write(written, end);
    }

    fn write(&mut self, start: usize, end: usize) {
        for line in &self.lines[start..end] {
            for (column, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = self.widths.get(column)
                    && column + 1 < line.len()
                {
                    let fill = width.saturating_sub(cell.chars().count());
                    self.out.extend(std::iter::repeat_n(' ', fill));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            align("NAME\tDRIVER\tSCOPE\nbridge\tbridge\tlocal\na-long-name-here\tx\tlocal\n"),
            "NAME               DRIVER    SCOPE\n\
             bridge             bridge    local\n\
             a-long-name-here   x         local\n"
        );
    }

    #[test]
    fn a_line_without_the_cell_ends_the_column() {
        assert_eq!(align("aaaaaaaaaaaaaaaa\tb\nplain\nc\td\n"), "aaaaaaaaaaaaaaaa   b\nplain\nc         d\n");
    }

    #[test]
    fn a_cell_has_no_commands_for_the_terminal() {
        assert_eq!(align("\u{1b}[2Jname\tx\n"), "?[2Jname   x\n");
    }

    #[test]
    fn the_last_cell_is_not_padded_and_no_newline_is_added() {
        assert_eq!(align("a\tb"), "a         b");
        assert_eq!(align(""), "");
        assert_eq!(align("é\t\tx\n"), "é                   x\n");
    }
}
