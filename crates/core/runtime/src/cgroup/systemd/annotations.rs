//! Properties of a scope by annotations, as runc and crun have them: `org.systemd.property.<Name>`, whose value is written as
//! GVariant's text format has it (`uint64 90000000`, `true`, `'text'`, `['a', 'b']`). A name in seconds (`…Sec`), which systemd
//! has in its files and not on the bus, is turned into microseconds (`…USec`).

use std::collections::BTreeMap;

use super::Error;
use super::properties::Property;
use super::wire::Value;

/// What the key of such an annotation begins with.
pub const ANNOTATION: &str = "org.systemd.property.";

pub fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Error> {
    let named =
        annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(ANNOTATION)?, text.trim())));
    named.map(|(name, text)| property(name, text).ok_or_else(|| bad(name, text))).collect()
}

fn bad(name: &str, text: &str) -> Error {
    Error::Annotation { annotation: format!("{ANNOTATION}{name}"), value: text.to_owned() }
}

fn property(name: &str, text: &str) -> Option<Property> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    match name.strip_suffix("Sec").filter(|name| !name.ends_with('U')) {
        Some(name) => Some((format!("{name}USec"), Value::U64(microseconds(text)?))),
        None => Some((name.to_owned(), value(text)?)),
    }
}

fn microseconds(text: &str) -> Option<u64> {
    let number = text.rsplit(' ').next()?;
    let seconds: f64 = number.parse().ok()?;
    let possible = (0.0..9e12).contains(&seconds);
    possible.then_some((seconds * 1e6) as u64)
}

fn value(text: &str) -> Option<Value> {
    if let Some(inner) = text.strip_prefix('[') {
        return Some(Value::Texts(texts(inner.strip_suffix(']')?)?));
    }
    if text.starts_with(['\'', '"']) {
        let (found, rest) = quoted(text)?;
        return rest.is_empty().then_some(Value::Text(found));
    }
    let (kind, number) = text.split_once(' ').unwrap_or(("int32", text));
    let number = number.trim();
    match (kind, text) {
        (_, "true") => Some(Value::Bool(true)),
        (_, "false") => Some(Value::Bool(false)),
        ("int32", _) => number.parse().ok().map(Value::I32),
        ("uint32", _) => number.parse().ok().map(Value::U32),
        ("int64", _) => number.parse().ok().map(Value::I64),
        ("uint64", _) => number.parse().ok().map(Value::U64),
        _ => None,
    }
}

/// Texts between commas.
fn texts(mut rest: &str) -> Option<Vec<String>> {
    let mut list = Vec::new();
    loop {
        let (text, after) = quoted(rest.trim())?;
        list.push(text);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.is_empty().then_some(list),
        }
    }
}

/// A text in quotes of either kind, in which a backslash takes the next character as it is; and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mark = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (mut found, mut characters) = (String::new(), text.char_indices().skip(1));
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => found.push(characters.next()?.1),
            c if c == mark => return Some((found, &text[at + 1..])),
            c => found.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Option<Property> {
        let annotations = BTreeMap::from([
            (format!("{ANNOTATION}{name}"), text.to_owned()),
            ("org.example".to_owned(), "something else".to_owned()),
        ]);
        properties(&annotations).ok().map(|list| list.into_iter().next().unwrap())
    }

    #[test]
    fn values_of_each_type() {
        for (text, value) in [
            ("uint64 90", Value::U64(90)),
            ("int64 -1", Value::I64(-1)),
            ("uint32 7", Value::U32(7)),
            ("7", Value::I32(7)),
            ("true", Value::Bool(true)),
            (r"'it\'s'", Value::Text("it's".to_owned())),
            (r#""a, b""#, Value::Text("a, b".to_owned())),
            ("['a.service', \"b.mount\"]", Value::Texts(vec!["a.service".into(), "b.mount".into()])),
        ] {
            assert_eq!(of("Name", text), Some(("Name".to_owned(), value)), "{text}");
        }
    }

    #[test]
    fn seconds_are_microseconds() {
        let property = |n| Some(("TimeoutStopUSec".to_owned(), Value::U64(n)));
        assert_eq!(of("TimeoutStopSec", "uint64 3"), property(3_000_000));
        assert_eq!(of("TimeoutStopSec", "1.5"), property(1_500_000));
        assert_eq!(of("TimeoutStopUSec", "uint64 9"), property(9));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (name, text) in [
            ("Name", ""),
            ("Name", "text"),
            ("Name", "'open"),
            ("Name", "'a' 'b'"),
            ("Name", "['a',]"),
            ("Name", "['a'"),
            ("Name", "uint64 -1"),
            ("Name", "byte 1"),
            ("TimeoutSec", "-1"),
            ("TimeoutSec", "NaN"),
            ("x", "1"),
            ("a-b", "1"),
        ] {
            assert_eq!(of(name, text), None, "{name}={text}");
        }
    }
}
