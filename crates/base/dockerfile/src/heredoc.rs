//! Here-document words: `<<EOF`, `3<<-"EOF"`.

use crate::ast::Heredoc;
use crate::span::Span;

/// The here-documents that a line opens, bodies still empty.
pub(crate) fn find(line: &str, escape: char) -> Vec<Heredoc> {
    raw_words(line, escape).into_iter().filter_map(parse).collect()
}

/// Reads one word as the opening of a here-document.
pub(crate) fn parse(word: &str) -> Option<Heredoc> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (rest, strip_tabs) = rest.strip_prefix('-').map_or((rest, false), |r| (r, true));
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = unquote(rest)?;
    let expand = name == rest;
    let fd = word[..digits].parse().unwrap_or(0);
    Some(Heredoc { name, expand, strip_tabs, fd, body: String::new(), span: Span::default() })
}

/// Removes quotes and escapes of a single word; nothing if it is more than one word or ends inside quotes.
fn unquote(word: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => loop {
                let inner = chars.next()?;
                if inner == c {
                    break;
                }
                out.push(inner);
            },
            '\\' => out.extend(chars.next()),
            c if c.is_whitespace() => return None,
            c => out.push(c),
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Words of a line as a shell would split them, quotes and escapes left in place. A quote that never closes
/// ends the search: the shell of the image will have its say about it.
fn raw_words(line: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if c.is_whitespace() {
            words.extend(start.take().map(|s| &line[s..at]));
            continue;
        }
        start.get_or_insert(at);
        if c == escape || c == '\\' {
            chars.next();
        } else if c == '\'' || c == '"' {
            let mut closed = false;
            while let Some((_, inner)) = chars.next() {
                if inner == c {
                    closed = true;
                    break;
                }
                if inner == '\\' && c == '"' {
                    chars.next();
                }
            }
            if !closed {
                return words;
            }
        }
    }
    words.extend(start.map(|s| &line[s..]));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_open_a_heredoc() {
        let doc = parse("<<EOF").unwrap();
        assert_eq!((doc.name.as_str(), doc.expand, doc.strip_tabs, doc.fd), ("EOF", true, false, 0));
        let doc = parse("3<<-'E F'").unwrap();
        assert_eq!((doc.name.as_str(), doc.expand, doc.strip_tabs, doc.fd), ("E F", false, true, 3));
        assert!(!parse("<<E\\OF").unwrap().expand);
        for word in ["<<", "<<<x", "x<<EOF", "<<EOF sh", "<EOF", "<<'x"] {
            assert_eq!(parse(word), None, "{word}");
        }
    }

    #[test]
    fn quoted_arrows_are_text() {
        assert!(find("RUN echo '<<EOF'", '\\').is_empty());
        assert!(find("RUN echo \"a <<EOF\"", '\\').is_empty());
        let names: Vec<_> = find("RUN cat <<A 4<<B > x", '\\').into_iter().map(|d| d.name).collect();
        assert_eq!(names, ["A", "B"]);
    }
}
