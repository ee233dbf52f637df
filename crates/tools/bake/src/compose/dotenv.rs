//! `.env`: a variable a line.

use std::collections::BTreeMap;

/// Reads variables; later ones may refer to earlier ones, and to those that `lookup` knows.
pub fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = first.trim();
        let trimmed = trimmed.strip_prefix("export ").unwrap_or(trimmed).trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = after;
            continue;
        }
        let end = trimmed.find(['=', ':']).unwrap_or(trimmed.len());
        let name = trimmed[..end].trim();
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!(".env: line {line}: unexpected character in variable name {name:?}"));
        }
        if end == trimmed.len() {
            // A name alone is the environment's.
            if let Some(value) = lookup(name) {
                all.insert(name.to_owned(), value);
            }
            rest = after;
            continue;
        }
        let start = rest.len() - rest[rest.find(['=', ':']).unwrap_or(0) + 1..].len();
        let value = rest[start..].trim_start_matches([' ', '\t']);
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let (inside, after) = quoted(&value[1..], quote)
                    .ok_or_else(|| format!(".env: line {line}: unterminated quoted value"))?;
                line += inside.matches('\n').count();
                let value = match quote {
                    '"' => expanded(&unescaped(inside), &all, lookup),
                    _ => inside.to_owned(),
                };
                (value, after.split_once('\n').map_or("", |(_, after)| after))
            }
            _ => {
                let (text, after) = value.split_once('\n').unwrap_or((value, ""));
                let text = text.find(" #").map_or(text, |at| &text[..at]);
                let text = if text.starts_with('#') { "" } else { text };
                (expanded(text.trim(), &all, lookup), after)
            }
        };
        all.insert(name.to_owned(), value);
        rest = after;
    }
    Ok(all)
}

/// What stands in quotes, and what follows.
fn quoted(text: &str, quote: char) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '\\' if quote == '"' => escaped = !escaped,
            letter if letter == quote && !escaped => return Some((&text[..at], &text[at + 1..])),
            _ => escaped = false,
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (letter, false) => out.push(letter),
        }
    }
    out
}

fn expanded(text: &str, known: &BTreeMap<String, String>, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let all = |name: &str| lookup(name).or_else(|| known.get(name).cloned());
    let mut value = serde_json::Value::from(text);
    match super::interpolate::within("", &mut value, &all) {
        Ok(()) => value.as_str().unwrap_or_default().to_owned(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines() {
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        let text = "# c\nA=1\nexport B = two words # c\nC=\"x\\ny $A\" # c\nD='$A'\nE=${HOST}-${A}\nHOST\nF=\nG=a#b\n";
        let all = parse(text, &lookup).unwrap();
        for (name, want) in [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x\ny 1"),
            ("D", "$A"),
            ("E", "h-1"),
            ("HOST", "h"),
            ("F", ""),
            ("G", "a#b"),
        ] {
            assert_eq!(all.get(name).map(String::as_str), Some(want), "{name}");
        }
        assert!(parse("A=\"x", &lookup).is_err());
        assert!(parse("a b=c", &lookup).is_err());
    }
}
