//! Environment variables and labels, from flags and from files.

use std::collections::BTreeMap;

/// The variables of the user's own environment, for `-e NAME`.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One `-e`: `NAME=value`, or `NAME` to hand on the user's own value. A name alone that the user has not set is sent as
/// it is: it takes the image's variable away.
pub fn variable(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("invalid environment variable: {text}")),
        None if text.is_empty() => Err("invalid environment variable: ".to_owned()),
        Some(_) => Ok(text.to_owned()),
        None => Ok(lookup(text).map_or_else(|| text.to_owned(), |value| format!("{text}={value}"))),
    }
}

/// The lines of an `--env-file`.
pub fn file(content: &[u8], lookup: Lookup<'_>) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for (name, value) in lines(content)? {
        match value {
            Some(value) => variables.push(format!("{name}={value}")),
            None => variables.extend(lookup(&name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

fn lines(content: &[u8]) -> Result<Vec<(String, Option<String>)>, String> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut pairs = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = std::str::from_utf8(line) else {
            let shown = String::from_utf8_lossy(line);
            return Err(format!("invalid utf8 bytes at line {}: {shown}", index + 1));
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, None),
        };
        let name = name.trim_start();
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        pairs.push((name.to_owned(), value));
    }
    Ok(pairs)
}

/// The lines of a `--label-file`; a name without `=` says nothing.
pub fn label_file(content: &[u8]) -> Result<Vec<(String, String)>, String> {
    Ok(lines(content)?.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// A `--label`, checked while flags are read.
pub fn label(text: &str) -> Result<String, String> {
    match text.split_once('=').map_or(text, |(name, _)| name).is_empty() {
        true => Err(format!("invalid label '{text}': empty name")),
        false => Ok(text.to_owned()),
    }
}

/// `NAME=value` or `NAME`, without looking anything up.
pub fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// Later pairs win.
pub fn map<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, String> {
    texts.into_iter().map(|text| pair(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn variables() {
        assert_eq!(variable("A=1", &home), Ok("A=1".to_owned()));
        assert_eq!(variable("A=", &home), Ok("A=".to_owned()));
        assert_eq!(variable("A=b=c", &home), Ok("A=b=c".to_owned()));
        assert_eq!(variable("HOME", &home), Ok("HOME=/root".to_owned()));
        assert_eq!(variable("NOPE", &home), Ok("NOPE".to_owned()), "it unsets the variable");
        assert_eq!(variable("=", &home).unwrap_err(), "invalid environment variable: =");
        assert_eq!(variable("", &home).unwrap_err(), "invalid environment variable: ");
    }

    #[test]
    fn files() {
        let content = b"\xef\xbb\xbf# note\nA=1\r\n\n  B=two words \nHOME\nNOPE\nC=\"quoted\"\nD=\n";
        assert_eq!(
            file(content, &home).unwrap(),
            ["A=1", "B=two words ", "HOME=/root", "C=\"quoted\"", "D="]
        );
        assert_eq!(file(b"=x", &home).unwrap_err(), "no variable name on line '=x'");
        assert_eq!(file(b"a b=x", &home).unwrap_err(), "variable 'a b' contains whitespaces");
        assert_eq!(file(b"a=\xff", &home).unwrap_err(), "invalid utf8 bytes at line 1: a=\u{fffd}");
    }

    #[test]
    fn labels() {
        assert_eq!(label("a=b").as_deref(), Ok("a=b"));
        assert_eq!(label("").unwrap_err(), "invalid label '': empty name");
        assert_eq!(label("=x").unwrap_err(), "invalid label '=x': empty name");
        assert_eq!(map(&["a=1".to_owned(), "b".to_owned(), "a=2".to_owned()])["a"], "2");
    }
}
