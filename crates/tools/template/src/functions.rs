//! The functions of text/template and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use crate::display::{display, is_hidden, type_name};
use crate::{Options, escape, letters, printf};

pub(crate) enum Failure {
    Arguments { want: String, got: usize },
    Call(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::Call(message)
    }
}

const NAMES: &[&str] = &[
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt", "le", "gt",
    "ge", "html", "js", "urlquery", "json", "join", "split", "lower", "upper", "title", "pad", "truncate",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Go's truth: false, 0, nil, and the empty string, array and map are false.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

pub(crate) fn call(name: &str, arguments: Vec<Value>, options: &Options) -> Result<Value, Failure> {
    if options.header && matches!(name, "json" | "lower" | "upper" | "title" | "truncate") {
        return Ok(arguments.into_iter().next().unwrap_or(Value::Null));
    }
    let got = arguments.len();
    let exactly = |want: usize| match got == want {
        true => Ok(()),
        false => Err(Failure::Arguments { want: want.to_string(), got }),
    };
    let at_least = |want: usize| match got >= want {
        true => Ok(()),
        false => Err(Failure::Arguments { want: format!("at least {want}"), got }),
    };
    Ok(match name {
        "and" | "or" => {
            at_least(1)?;
            arguments.into_iter().next_back().unwrap_or(Value::Null)
        }
        "not" => {
            exactly(1)?;
            Value::Bool(!truth(&arguments[0]))
        }
        "len" => {
            exactly(1)?;
            length(&arguments[0])?.into()
        }
        "index" => {
            at_least(1)?;
            index(&arguments[0], &arguments[1..])?
        }
        "slice" => {
            at_least(1)?;
            slice(&arguments[0], &arguments[1..])?
        }
        "print" => printf::print(&arguments).into(),
        "println" => printf::println(&arguments).into(),
        "html" => escape::html(&printf::print(&arguments)).into(),
        "js" => escape::js(&printf::print(&arguments)).into(),
        "urlquery" => escape::urlquery(&printf::print(&arguments)).into(),
        "printf" => {
            at_least(1)?;
            printf::printf(&string(&arguments[0])?, &arguments[1..]).into()
        }
        "eq" => {
            at_least(2)?;
            compare(name, &arguments)?.into()
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            exactly(2)?;
            compare(name, &arguments)?.into()
        }
        _ => return docker(name, &arguments, options.indent, exactly),
    })
}

/// The arguments are counted already.
fn compare(name: &str, arguments: &[Value]) -> Result<bool, Failure> {
    let (first, second) = (&arguments[0], &arguments[1]);
    Ok(match name {
        "eq" => {
            let mut found = false;
            for other in &arguments[1..] {
                found |= equal(first, other)?;
            }
            found
        }
        "ne" => !equal(first, second)?,
        "lt" => order(first, second)?.is_lt(),
        "le" => order(first, second)?.is_le(),
        "gt" => order(first, second)?.is_gt(),
        _ => order(first, second)?.is_ge(),
    })
}

fn docker(
    name: &str,
    arguments: &[Value],
    indent: bool,
    exactly: impl Fn(usize) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let text = |index: usize| string(&arguments[index]);
    match name {
        "json" | "lower" | "upper" | "title" => exactly(1)?,
        "join" | "split" | "truncate" => exactly(2)?,
        _ => exactly(3)?,
    }
    Ok(match name {
        "json" => json(&arguments[0], indent)?.into(),
        "lower" => letters::lower(&text(0)?).into(),
        "upper" => letters::upper(&text(0)?).into(),
        "title" => letters::title(&text(0)?).into(),
        "join" => join(&arguments[0], &text(1)?)?.into(),
        "split" => {
            let (whole, separator) = (text(0)?, text(1)?);
            let parts: Vec<Value> = match separator.is_empty() {
                true => whole.chars().map(|c| Value::from(c.to_string())).collect(),
                false => whole.split(&separator).map(Value::from).collect(),
            };
            Value::Array(parts)
        }
        "truncate" => {
            let limit = number(&arguments[1])?;
            let source = text(0)?;
            match source.char_indices().nth(limit) {
                Some((end, _)) => source[..end].into(),
                None => source.into(),
            }
        }
        _ => {
            let source = text(0)?;
            let (before, after) = (number(&arguments[1])?, number(&arguments[2])?);
            match source.is_empty() {
                true => source.into(),
                false => format!("{}{source}{}", " ".repeat(before), " ".repeat(after)).into(),
            }
        }
    })
}

/// Without the hidden fields of the document itself, and of the rows in it.
fn json(value: &Value, indent: bool) -> Result<String, Failure> {
    let shown = has_hidden(value).then(|| without_hidden(value));
    let value = shown.as_ref().unwrap_or(value);
    let text = if indent { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map(escape::printable_json).map_err(|error| Failure::Call(error.to_string()))
}

fn has_hidden(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| is_hidden(key) || has_hidden(value)),
        Value::Array(items) => items.iter().any(has_hidden),
        _ => false,
    }
}

fn without_hidden(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let shown = map.iter().filter(|(key, _)| !is_hidden(key));
            Value::Object(shown.map(|(key, value)| (key.clone(), without_hidden(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_hidden).collect()),
        other => other.clone(),
    }
}

/// Go would refuse any other type than string; JSON's nil stands for an empty string.
fn string(value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        other => {
            Err(Failure::Call(format!("wrong type for value; expected string; got {}", type_name(other))))
        }
    }
}

fn number(value: &Value) -> Result<usize, Failure> {
    /// Widths beyond any terminal are a mistake, and would only fill the memory.
    const LIMIT: u64 = 1 << 16;
    let wrong = || Failure::Call(format!("wrong type for value; expected int; got {}", type_name(value)));
    let number = value.as_u64().ok_or_else(wrong)?;
    match number > LIMIT {
        true => Err(Failure::Call(format!("number is too large: {number}"))),
        false => Ok(number as usize),
    }
}

fn join(value: &Value, separator: &str) -> Result<String, Failure> {
    match value {
        Value::Null => Ok(String::new()),
        Value::Array(items) => Ok(items.iter().map(display).collect::<Vec<_>>().join(separator)),
        other => {
            Err(Failure::Call(format!("wrong type for value; expected []string; got {}", type_name(other))))
        }
    }
}

fn length(value: &Value) -> Result<usize, Failure> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        // A nil slice or map is a JSON null, and its length is 0.
        Value::Null => Ok(0),
        other => Err(Failure::Call(format!("len of type {}", type_name(other)))),
    }
}

fn position(value: &Value, length: usize) -> Result<usize, Failure> {
    let Some(index) = value.as_i64() else {
        return Err(Failure::Call(match value {
            Value::Null => "cannot index slice/array with nil".to_owned(),
            other => format!("cannot index slice/array with type {}", type_name(other)),
        }));
    };
    match usize::try_from(index) {
        Ok(position) if position <= length => Ok(position),
        _ => Err(Failure::Call(format!("index out of range: {index}"))),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, Failure> {
    let mut value = value;
    let missing;
    for (depth, key) in keys.iter().enumerate() {
        value = match value {
            Value::Array(items) => {
                let at = position(key, items.len())?;
                items.get(at).ok_or_else(|| format!("index out of range: {at}"))?
            }
            Value::Object(map) => {
                let key = string(key)?;
                match map.get(&key) {
                    Some(found) => found,
                    None => {
                        // A Go map of strings answers with the empty string, any other with no value.
                        let texts = map.values().all(Value::is_string);
                        missing = if texts { Value::from("") } else { Value::Null };
                        return match keys.len() == depth + 1 {
                            true => Ok(missing),
                            false => index(&missing, &keys[depth + 1..]),
                        };
                    }
                }
            }
            Value::Null if key.is_string() => return Ok(Value::from("")),
            Value::Null => return Err(Failure::Call("index of nil pointer".to_owned())),
            Value::String(text) => {
                let at = position(key, text.len())?;
                let byte = *text.as_bytes().get(at).ok_or_else(|| format!("index out of range: {at}"))?;
                return Ok(byte.into());
            }
            other => return Err(Failure::Call(format!("can't index item of type {}", type_name(other)))),
        };
    }
    Ok(value.clone())
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, Failure> {
    let length = length(value)?;
    if bounds.len() > 3 {
        return Err(Failure::Call(format!("too many slice indexes: {}", bounds.len())));
    }
    let from = bounds.first().map_or(Ok(0), |bound| position(bound, length))?;
    let to = bounds.get(1).map_or(Ok(length), |bound| position(bound, length))?;
    if from > to {
        return Err(Failure::Call(format!("invalid slice index: {from} > {to}")));
    }
    match value {
        Value::String(text) => Ok(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned().into()),
        Value::Array(items) => Ok(Value::Array(items[from..to].to_vec())),
        other => Err(Failure::Call(format!("can't slice item of type {}", type_name(other)))),
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, Failure> {
    match (left, right) {
        (Value::Array(_) | Value::Object(_), Value::Null)
        | (Value::Null, Value::Array(_) | Value::Object(_)) => Ok(false),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err(Failure::Call("non-comparable type".to_owned()))
        }
        (Value::Number(left), Value::Number(right)) => Ok(left.as_f64() == right.as_f64()),
        (Value::Null, _) | (_, Value::Null) => Ok(left == right),
        _ if std::mem::discriminant(left) == std::mem::discriminant(right) => Ok(left == right),
        _ => Err(Failure::Call("incompatible types for comparison".to_owned())),
    }
}

fn order(left: &Value, right: &Value) -> Result<Ordering, Failure> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Ok(left.cmp(&right)),
            _ => Ok(left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal)),
        },
        (Value::String(_), Value::Number(_)) | (Value::Number(_), Value::String(_)) => {
            Err(Failure::Call("incompatible types for comparison".to_owned()))
        }
        _ => Err(Failure::Call("invalid type for comparison".to_owned())),
    }
}
