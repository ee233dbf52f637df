//! Comma-separated values (RFC 4180).

use std::collections::BTreeMap;

use super::collections::strings_object;
use super::{Arguments, Outcome};
use crate::value::Value;

/// The fields of one line.
pub fn fields(line: &str, comma: char) -> Result<Vec<String>, String> {
    let (record, _, _) = record(line, comma, 1)?;
    Ok(record)
}

pub fn csvdecode(a: &Arguments<'_>) -> Outcome {
    let (mut rest, mut line) = (a.text(0), 1);
    let mut rows = Vec::new();
    let mut header: Option<Vec<String>> = None;
    while !rest.is_empty() {
        // Empty lines are no records.
        if let Some(after) = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')) {
            (rest, line) = (after, line + 1);
            continue;
        }
        let start = line;
        let (fields, after, lines) =
            record(rest, ',', line).map_err(|why| format!("CSV parse error on {why}"))?;
        (rest, line) = (after, line + lines);
        match &header {
            None => {
                let twice = fields.iter().enumerate().find(|(at, name)| fields[..*at].contains(name));
                if let Some((_, name)) = twice {
                    return Err(format!("duplicate column name {name:?}").into());
                }
                header = Some(fields);
            }
            Some(names) if names.len() != fields.len() => {
                return Err(format!("CSV parse error on line {start}: wrong number of fields").into());
            }
            Some(names) => {
                let members = names.iter().cloned().zip(fields.into_iter().map(Value::String));
                rows.push(Value::Object(members.collect::<BTreeMap<_, _>>()));
            }
        }
    }
    let names = header.ok_or("missing header line")?;
    Ok(Value::List(strings_object(names.iter().map(String::as_str)), rows))
}

/// One record, what follows it, and how many lines it has.
fn record(text: &str, comma: char, line: usize) -> Result<(Vec<String>, &str, usize), String> {
    let (mut fields, mut rest, mut lines) = (Vec::new(), text, 1);
    loop {
        let field;
        (field, rest) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside, comma, line, &mut lines)?,
            None => {
                let end = rest.find([comma, '\n']).unwrap_or(rest.len());
                let field = &rest[..end];
                if field.contains('"') {
                    return Err(format!("line {}: bare \" in non-quoted-field", line + lines - 1));
                }
                let at_end = !rest[end..].starts_with(comma);
                let trimmed = if at_end { field.strip_suffix('\r').unwrap_or(field) } else { field };
                (trimmed.to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match rest.strip_prefix(comma) {
            Some(after) => rest = after,
            None => return Ok((fields, rest.strip_prefix('\n').unwrap_or(rest), lines)),
        }
    }
}

fn quoted<'t>(
    text: &'t str,
    comma: char,
    line: usize,
    lines: &mut usize,
) -> Result<(String, &'t str), String> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let wrong =
            |lines: usize| format!("line {}: extraneous or missing \" in quoted-field", line + lines - 1);
        let end = rest.find('"').ok_or_else(|| wrong(*lines))?;
        field.push_str(&rest[..end]);
        *lines += rest[..end].matches('\n').count();
        rest = &rest[end + 1..];
        if let Some(after) = rest.strip_prefix('"') {
            field.push('"');
            rest = after;
            continue;
        }
        let rest = match rest.strip_prefix('\r') {
            Some(after) if after.is_empty() || after.starts_with('\n') => after,
            _ => rest,
        };
        return match rest.is_empty() || rest.starts_with(comma) || rest.starts_with('\n') {
            true => Ok((field.replace("\r\n", "\n"), rest)),
            false => Err(wrong(*lines)),
        };
    }
}
