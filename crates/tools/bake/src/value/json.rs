//! Values as JSON, as Go's encoder writes it.

use std::collections::BTreeMap;

use super::{Type, Value, convert, number};

/// A string in quotes; what would mean something in HTML is escaped, as Go does.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A value in one line.
pub fn encode(value: &Value) -> String {
    match value {
        Value::Null(_) => "null".to_owned(),
        Value::String(text) => escape(text),
        Value::Number(number) => super::text(number),
        Value::Bool(truth) => truth.to_string(),
        Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => {
            format!("[{}]", items.iter().map(encode).collect::<Vec<_>>().join(","))
        }
        Value::Map(_, members) | Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{}:{}", escape(name), encode(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
    }
}

/// A value as a document; an infinity has no place in one.
pub fn document(value: &Value) -> Result<String, String> {
    match is_finite(value) {
        true => Ok(encode(value)),
        false => Err("cannot serialize infinity as JSON".to_owned()),
    }
}

fn is_finite(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_infinite(),
        Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => items.iter().all(is_finite),
        Value::Map(_, members) | Value::Object(members) => members.values().all(is_finite),
        Value::Null(_) | Value::String(_) | Value::Bool(_) => true,
    }
}

/// A document as a value: lists become tuples.
pub fn decode(text: &str) -> Result<Value, String> {
    let document: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    value(&document)
}

/// A document as a value of the type.
pub fn typed(text: &str, want: &Type) -> Result<Value, String> {
    convert(&decode(text)?, want)
}

fn value(document: &serde_json::Value) -> Result<Value, String> {
    Ok(match document {
        serde_json::Value::Null => Value::NULL,
        serde_json::Value::Bool(truth) => (*truth).into(),
        serde_json::Value::Number(digits) => {
            let number = number::parse(&digits.to_string());
            Value::Number(number.ok_or_else(|| format!("{digits} is out of range"))?)
        }
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => Value::Tuple(items.iter().map(value).collect::<Result<_, _>>()?),
        serde_json::Value::Object(members) => {
            let member = |(name, member): (&String, &serde_json::Value)| Ok((name.clone(), value(member)?));
            Value::Object(members.iter().map(member).collect::<Result<BTreeMap<_, _>, String>>()?)
        }
    })
}
