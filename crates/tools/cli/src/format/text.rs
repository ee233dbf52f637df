//! Ids and commands, shortened for tables; texts of strangers, fit for a terminal.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// The twelve digits that a table shows of an id; an algorithm's prefix goes.
pub fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// A text in which others may have written, such as the author of an image, with nothing that a terminal obeys: only
/// lines and tabs remain of its control characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(is_command) {
        true => text.replace(is_command, "?").into(),
        false => text.into(),
    }
}

/// At most `width` columns wide; a cut text ends with an ellipsis.
pub fn ellipsis(text: &str, width: usize) -> String {
    let total: usize = text.chars().map(|c| c.width().unwrap_or(0)).sum();
    if total <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width.saturating_sub(1) {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// `"a=1,b=2"`: labels in one cell, sorted.
pub fn pairs<'a>(map: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut pairs: Vec<String> = map.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys() {
        assert_eq!(printable("\u{1b}]0;title\u{7}\r\u{9b}2J\0"), "?]0;title???2J?");
        assert!(matches!(printable("one\ttwo\nüñ…"), Cow::Borrowed(_)));
    }

    #[test]
    fn shortening() {
        assert_eq!(short_id("sha256:0123456789abcdef0123"), "0123456789ab");
        assert_eq!(short_id("0123456789abcdef0123"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(ellipsis("sleep 1", 20), "sleep 1");
        assert_eq!(ellipsis("/docker-entrypoint.sh nginx", 20), "/docker-entrypoint.…");
        assert_eq!(ellipsis("日本語日本語", 6), "日本…");
    }
}
