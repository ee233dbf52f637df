//! Variables in the strings of a compose file: `$NAME`, `${NAME:-default}` and its kin, `$$` for a dollar. Any other dollar is one.

use serde_json::Value;

/// Defaults inside of each other at most.
const DEPTH: usize = 32;

/// Replaces variables in all strings; the path says where, for errors.
pub fn within(path: &str, value: &mut Value, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('$') => {
            let done = text_of(text, lookup, 0);
            *text = done.map_err(|why| format!("error while interpolating {path}: {why}"))?;
            Ok(())
        }
        Value::Array(items) => {
            items.iter_mut().try_for_each(|item| within(&format!("{path}.[]"), item, lookup))
        }
        Value::Object(members) => members
            .iter_mut()
            .try_for_each(|(name, member)| within(&format!("{path}.{name}"), member, lookup)),
        _ => Ok(()),
    }
}

fn text_of(text: &str, lookup: &dyn Fn(&str) -> Option<String>, depth: usize) -> Result<String, String> {
    if depth > DEPTH {
        return Err("variables are nested too deeply".to_owned());
    }
    let invalid = || format!("Invalid template: {text:?}");
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let end = closing(inside).ok_or_else(invalid)?;
            out.push_str(&braced(&inside[..end], lookup, depth)?.ok_or_else(invalid)?);
            rest = &inside[end + 1..];
        } else {
            let (name, after) = rest.split_at(name_end(rest));
            match name.is_empty() {
                // One that begins no variable: a shell's, as a rule.
                true => out.push('$'),
                false => out.push_str(&lookup(name).unwrap_or_default()),
            }
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Where a name ends: letters, digits and underscores, no digit first.
fn name_end(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Where the brace that was opened is closed.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if at > 0 && text.as_bytes()[at - 1] == b'$' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// What stands between braces; `None` if it is no variable.
fn braced(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<Option<String>, String> {
    let (name, operator) = text.split_at(name_end(text));
    if name.is_empty() {
        return Ok(None);
    }
    let (full, rest) = operator.strip_prefix(':').map_or((false, operator), |rest| (true, rest));
    let value = lookup(name);
    let set = value.clone().filter(|value| !full || !value.is_empty());
    let word = |rest: &str| text_of(&rest[1..], lookup, depth + 1);
    Ok(Some(match (rest.chars().next(), set) {
        (None, _) if !full => value.unwrap_or_default(),
        (Some('-'), Some(value)) => value,
        (Some('-'), None) => word(rest)?,
        (Some('+'), Some(_)) => word(rest)?,
        (Some('+'), None) => String::new(),
        (Some('?'), Some(value)) => value,
        (Some('?'), None) => {
            let why = word(rest)?;
            return Err(match why.is_empty() {
                true => format!("required variable {name} is missing a value"),
                false => format!("required variable {name} is missing a value: {why}"),
            });
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn variables() {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        for (text, want) in [
            ("$A ${A} ${B:-b} ${B} $$A ${A:+set}", "a a b  $A set"),
            ("${E:-x}${E-y}${B-${A}z}", "xaz"),
            ("${B:-${C:-${A}}}}", "a}"),
            ("$A.$A_", "a."),
            ("$ x $(date) a$ $1 a$-b x$[y] ${B:-b$} ${B:-$(x)} $", "$ x $(date) a$ $1 a$-b x$[y] b$ $(x) $"),
        ] {
            assert_eq!(text_of(text, &lookup, 0).as_deref(), Ok(want), "{text}");
        }
        for (text, want) in [
            ("${B:?needed}", "required variable B is missing a value: needed"),
            ("${B?}", "required variable B is missing a value"),
            ("${", "Invalid template"),
            ("${1}", "Invalid template"),
            ("${A!}", "Invalid template"),
        ] {
            assert!(text_of(text, &lookup, 0).is_err_and(|why| why.starts_with(want)), "{text}");
        }
    }
}
