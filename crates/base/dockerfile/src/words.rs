//! Splitting an instruction's text into keyword, flags, words and JSON arrays, as BuildKit's parser does.

/// A piece of a logical line: offsets into its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub text: String,
    pub from: usize,
    pub to: usize,
}

/// Keyword, and where the rest begins.
pub(crate) fn keyword(line: &str) -> (&str, usize) {
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let rest = line[end..].trim_start();
    (&line[..end], line.len() - rest.len())
}

/// Whether the instruction of this line may be followed by here-documents.
pub(crate) fn can_hold_heredoc(line: &str) -> bool {
    let (mut word, mut at) = keyword(line);
    if word.eq_ignore_ascii_case("ONBUILD") {
        let (inner, rest) = keyword(&line[at..]);
        word = inner;
        at += rest;
    }
    let allowed = ["ADD", "COPY", "RUN"].iter().any(|k| word.eq_ignore_ascii_case(k));
    if !allowed {
        return false;
    }
    let rest = flags(line, at).map_or(at, |(_, rest)| rest);
    !matches!(json_array(&line[rest..]), Json::Array { tail, .. } if line[rest + tail..].trim().is_empty())
}

/// Leading `--name[=value]` words with quotes and escapes removed, and where the arguments begin.
pub(crate) fn flags(line: &str, start: usize) -> Option<(Vec<Piece>, usize)> {
    let mut found = Vec::new();
    let mut at = start;
    loop {
        at += line[at..].len() - line[at..].trim_start().len();
        if !line[at..].starts_with("--") {
            return Some((found, at));
        }
        let mut text = String::new();
        let mut quote = None;
        let mut end = line.len();
        let mut chars = line[at..].char_indices();
        while let Some((i, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at + i;
                    break;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(q) if c == q => quote = None,
                _ if c == '\\' => text.extend(chars.next().map(|(_, c)| c)),
                _ => text.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        if text == "--" {
            let rest = line[end..].trim_start();
            return Some((found, line.len() - rest.len()));
        }
        found.push(Piece { text, from: at, to: end });
        at = end;
    }
}

/// Words between white space; quotes mean nothing.
pub(crate) fn plain(line: &str, start: usize) -> Vec<Piece> {
    let mut words = Vec::new();
    let mut from = None;
    for (i, c) in line[start..].char_indices() {
        let at = start + i;
        if c.is_whitespace() {
            words.extend(from.take().map(|f| Piece { text: line[f..at].to_string(), from: f, to: at }));
        } else {
            from.get_or_insert(at);
        }
    }
    words.extend(from.map(|f| Piece { text: line[f..].to_string(), from: f, to: line.len() }));
    words
}

/// Words as `ENV`, `LABEL` and `ARG` read them: quotes and escapes group, and stay in the text.
pub(crate) fn quoted(line: &str, start: usize, escape: char) -> Vec<Piece> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut from = None;
    let mut quote: Option<char> = None;
    let mut chars = line[start..].char_indices().map(|(i, c)| (start + i, c)).peekable();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(from.take().map(|from| Piece { text: std::mem::take(&mut word), from, to: at }));
            continue;
        }
        from.get_or_insert(at);
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape character at the very end is dropped, as the shells do.
            let Some((_, next)) = chars.next() else { continue };
            word.push(c);
            word.push(next);
            continue;
        }
        word.push(c);
    }
    words.extend(from.map(|from| Piece { text: word, from, to: line.len() }));
    words
}

/// Where a trailing ` # …` outside quotes begins.
pub(crate) fn trailing_comment(text: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    let mut before = None;
    for (i, c) in text.char_indices() {
        match quote {
            None if c == '#' && before.is_some_and(char::is_whitespace) => return Some(i),
            // An apostrophe inside a word ("don't") is no quote.
            None if (c == '\'' || c == '"') && before.is_none_or(|b| !b.is_alphanumeric()) => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        before = Some(c);
    }
    None
}

/// What a text that may be a JSON array of strings is.
#[derive(Debug, PartialEq)]
pub(crate) enum Json {
    /// Not JSON: shell form.
    No,
    /// An array with something in it that is no string.
    NotStrings,
    /// The strings, and the offset after the `]`.
    Array { items: Vec<String>, tail: usize },
}

/// Reads a JSON array of strings at the start of `text`. What stands behind it is left to the caller.
pub(crate) fn json_array(text: &str) -> Json {
    if !text.trim_start().starts_with('[') {
        return Json::No;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let Some(Ok(serde_json::Value::Array(values_found))) = values.next() else { return Json::No };
    let tail = values.byte_offset();
    let mut items = Vec::with_capacity(values_found.len());
    for value in values_found {
        match value {
            serde_json::Value::String(s) => items.push(s),
            _ => return Json::NotStrings,
        }
    }
    Json::Array { items, tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: &[Piece]) -> Vec<&str> {
        pieces.iter().map(|p| p.text.as_str()).collect()
    }

    #[test]
    fn flags_lose_their_quotes() {
        let line = "COPY --from='a b' --chown=x\\ y -- --src dst";
        let (found, rest) = flags(line, 5).unwrap();
        assert_eq!(texts(&found), ["--from=a b", "--chown=x y"]);
        assert_eq!(&line[rest..], "--src dst");
        assert_eq!(flags("--from='a", 0), None);
    }

    #[test]
    fn quoted_words() {
        for (line, want) in [
            ("a=b c=\"d e\"", vec!["a=b", "c=\"d e\""]),
            ("a=b\\ c d='e \\' f", vec!["a=b\\ c", "d='e \\'", "f"]),
            ("a=\"x\\\" y\" b", vec!["a=\"x\\\" y\"", "b"]),
            ("a=", vec!["a="]),
            ("a='open end", vec!["a='open end"]),
        ] {
            assert_eq!(texts(&quoted(line, 0, '\\')), want, "{line}");
        }
    }

    #[test]
    fn comments_stand_outside_quotes() {
        assert_eq!(trailing_comment("b   # Now"), Some(4));
        assert_eq!(trailing_comment("a#b"), None);
        assert_eq!(trailing_comment("'a # b'"), None);
        assert_eq!(trailing_comment("don't # stop"), Some(6));
    }

    #[test]
    fn json_prefix() {
        let items = vec!["a".to_string()];
        assert_eq!(json_array("[\"a\"]  # x"), Json::Array { items, tail: 5 });
        assert_eq!(json_array("[\"a\", 1]"), Json::NotStrings);
        assert_eq!(json_array("[ -f x ]"), Json::No);
        assert_eq!(json_array(&"[".repeat(100_000)), Json::No);
    }
}
