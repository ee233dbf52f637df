//! Regular expressions, in the syntax of RE2.

use std::collections::BTreeMap;

use regex::{Captures, Regex};

use super::collections::strings_object;
use super::{Arguments, Failure, Outcome};
use crate::value::{Type, Value};

/// What a pattern's groups make of a match.
enum Shape {
    Text,
    Tuple(usize),
    Object(Vec<String>),
}

impl Shape {
    fn kind(&self) -> Type {
        match self {
            Shape::Text => Type::String,
            Shape::Tuple(count) => Type::Tuple(vec![Type::String; *count]),
            Shape::Object(names) => strings_object(names.iter().map(String::as_str)),
        }
    }

    fn value(&self, found: &Captures<'_>) -> Value {
        let text = |group: Option<regex::Match<'_>>| {
            group.map_or(Value::Null(Type::String), |group| group.as_str().into())
        };
        match self {
            Shape::Text => text(found.get(0)),
            Shape::Tuple(count) => Value::Tuple((1..=*count).map(|at| text(found.get(at))).collect()),
            Shape::Object(names) => {
                let members = names.iter().map(|name| (name.clone(), text(found.name(name))));
                Value::Object(members.collect::<BTreeMap<_, _>>())
            }
        }
    }
}

fn compiled(pattern: &str) -> Result<(Regex, Shape), Failure> {
    let regex = parsed(pattern).map_err(|why| Failure::of(0, why))?;
    let names: Vec<Option<String>> =
        regex.capture_names().skip(1).map(|name| name.map(str::to_owned)).collect();
    let named: Vec<String> = names.iter().flatten().cloned().collect();
    let shape = match (names.len(), named.len()) {
        (0, _) => Shape::Text,
        (count, 0) => Shape::Tuple(count),
        (count, named_count) if count == named_count => Shape::Object(named),
        _ => {
            let why = "invalid regexp pattern: cannot mix both named and unnamed capture groups";
            return Err(Failure::of(0, why));
        }
    };
    Ok((regex, shape))
}

fn parsed(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| {
        let text = error.to_string();
        let why = match text.lines().last().unwrap_or_default().trim_start_matches("error: ") {
            "unclosed group" => "missing closing )",
            "unopened group" => "unexpected )",
            "unclosed character class" => "missing closing ]",
            "repetition operator missing expression" => "missing argument to repetition operator",
            other => other,
        };
        format!("invalid regexp pattern: {why} in {pattern}")
    })
}

pub fn regex(a: &Arguments<'_>) -> Outcome {
    let (regex, shape) = compiled(a.text(0))?;
    match regex.captures(a.text(1)) {
        Some(found) => Ok(shape.value(&found)),
        None => Err("pattern did not match any part of the given string".into()),
    }
}

pub fn regexall(a: &Arguments<'_>) -> Outcome {
    let (regex, shape) = compiled(a.text(0))?;
    let found = regex.captures_iter(a.text(1)).map(|found| shape.value(&found));
    Ok(Value::List(shape.kind(), found.collect()))
}

/// `$1` and `${name}` stand for groups.
pub fn replace(a: &Arguments<'_>) -> Outcome {
    let regex = parsed(a.text(1))?;
    Ok(regex.replace_all(a.text(0), a.text(2)).into_owned().into())
}
