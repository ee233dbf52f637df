//! Texts made safe for HTML, JavaScript strings and URLs, as Go's template functions of these names do.

use std::fmt::Write as _;

/// `html`: the five characters that mean something, and NUL.
pub(crate) fn html(text: &str) -> String {
    replaced(text, |c| match c {
        '"' => Some("&#34;"),
        '\'' => Some("&#39;"),
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '\0' => Some("\u{fffd}"),
        _ => None,
    })
}

/// JSON with nothing in it that a terminal obeys: its own escapes leave out some control characters (DEL and C1).
pub fn printable_json(json: String) -> String {
    let is_command = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    match json.contains(is_command) {
        true => json.chars().fold(String::new(), |mut out, c| {
            let _ = match is_command(c) {
                true => write!(out, "\\u{:04x}", u32::from(c)),
                false => out.write_char(c),
            };
            out
        }),
        false => json,
    }
}

/// `js`: what may stand in a quoted string.
pub(crate) fn js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => drop(write!(out, "\\u{:04X}", u32::from(c))),
            c if c.is_control() => drop(write!(out, "\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// `urlquery`: a value in the query of a URL.
pub(crate) fn urlquery(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            b' ' => out.push('+'),
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn replaced(text: &str, replacement: impl Fn(char) -> Option<&'static str>) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match replacement(c) {
            Some(other) => out.push_str(other),
            None => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_does() {
        assert_eq!(html("<a href=\"x\">'&'</a>"), "&lt;a href=&#34;x&#34;&gt;&#39;&amp;&#39;&lt;/a&gt;");
        assert_eq!(js("it's \"a\" <b>\n"), "it\\'s \\\"a\\\" \\u003Cb\\u003E\\u000A");
        assert_eq!(urlquery("a b&c=ü"), "a+b%26c%3D%C3%BC");
    }

    #[test]
    fn no_command_for_a_terminal_is_left_in_json() {
        let value = serde_json::json!({"a\u{9b}2J": "ü\u{7f}\u{1b}[2J\n"});
        let printed = printable_json(value.to_string());
        assert_eq!(printed, r#"{"a\u009b2J":"ü\u007f\u001b[2J\n"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }
}
