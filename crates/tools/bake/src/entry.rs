//! Options with names: attestations, caches, outputs, secrets, agents and policies, as text (`type=local,dest=out`)
//! or as objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::functions::fields;
use crate::shape::Shape;
use crate::value::{Type, Value, convert, encode, mismatch};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub shape: Shape,
    pub fields: BTreeMap<String, String>,
    /// Keys and sockets of an agent; files of a policy.
    pub paths: Vec<String>,
}

/// What a list says.
pub fn of_values(shape: Shape, value: &Value) -> Result<Vec<Entry>, String> {
    let items = match value {
        Value::List(_, items) | Value::Tuple(items) => items,
        other => return Err(mismatch(&other.kind(), &shape.kind())),
    };
    let mut all = Vec::new();
    for item in items {
        match item {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => all.extend(parse(shape, text)?),
            other => all.push(of_object(shape, other)?),
        }
    }
    Ok(all)
}

fn of_object(shape: Shape, value: &Value) -> Result<Entry, String> {
    let mut entry = Entry { shape, fields: BTreeMap::new(), paths: Vec::new() };
    let want = match shape.kind() {
        Type::List(element) => *element,
        other => other,
    };
    let converted = convert(value, &want)?;
    for (name, member) in converted.members().into_iter().flatten() {
        match (name.as_str(), member) {
            ("paths", Value::List(_, items)) => {
                entry.paths = items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
            }
            ("filename", Value::String(text)) if shape == Shape::Policy => entry.paths.push(text.clone()),
            (_, Value::String(text)) => {
                entry.fields.insert(name.clone(), text.clone());
            }
            _ => {}
        }
    }
    match shape {
        Shape::Cache if entry.kind().is_empty() => Err(format!("type required for {:?}", encode(value))),
        _ => entry.checked(),
    }
}

/// What a text says: several caches, if it only names where they are.
pub fn parse(shape: Shape, text: &str) -> Result<Vec<Entry>, String> {
    let entry = |fields: &[(&str, &str)]| Entry {
        shape,
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        paths: Vec::new(),
    };
    if shape == Shape::Ssh {
        let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
        let paths = paths.into_iter().flat_map(|paths| paths.split(',')).map(str::to_owned).collect();
        return Ok(vec![Entry { paths, ..entry(&[("id", id)]) }]);
    }
    let parts = fields(text, ',')?;
    match (shape, parts.as_slice()) {
        (Shape::Cache, parts) if !text.contains('=') => {
            return Ok(parts.iter().map(|at| entry(&[("type", "registry"), ("ref", at)])).collect());
        }
        (Shape::Output, _) if text == "-" => return Ok(vec![entry(&[("type", "tar"), ("dest", "-")])]),
        (Shape::Output, [only]) if only == text && !text.starts_with("type=") => {
            return Ok(vec![entry(&[("type", "local"), ("dest", text)])]);
        }
        _ => {}
    }
    let mut one = entry(&[]);
    let mut source = None;
    for part in &parts {
        let Some((key, value)) = part.split_once('=') else {
            return Err(match shape {
                Shape::Secret => format!("invalid field '{part}' must be a key=value pair"),
                _ => format!("invalid value {part}"),
            });
        };
        let lower = key.trim().to_lowercase();
        match (shape, lower.as_str()) {
            (Shape::Secret, "type") if matches!(value, "file" | "env") => source = Some(value),
            (Shape::Secret, "type") => return Err(format!("unsupported secret type {value:?}")),
            (Shape::Secret, "source" | "src") => one.set("src", value),
            (Shape::Secret, "id" | "env") => one.set(&lower, value),
            (Shape::Secret, _) => return Err(format!("unexpected key '{lower}' in '{part}'")),
            (Shape::Policy, "filename") if !value.is_empty() => one.paths.push(value.to_owned()),
            (Shape::Policy, "reset" | "disabled" | "strict" | "log-level") => one.set(&lower, value),
            (Shape::Policy, _) => return Err(format!("invalid value {part}")),
            (Shape::Attest, "type" | "disabled") => one.set(&lower, value),
            (Shape::Attest, _) => one.set(key, value),
            _ => one.set(&lower, value),
        }
    }
    if source == Some("env") && !one.fields.contains_key("env") {
        let name = one.fields.remove("src").unwrap_or_default();
        one.set("env", &name);
    }
    match shape {
        Shape::Attest if one.kind().is_empty() => Err("attestation type not specified".to_owned()),
        Shape::Cache if one.kind().is_empty() => Err(format!("type required for {text:?}")),
        _ => Ok(vec![one.checked()?]),
    }
}

/// `true`, as Go reads it.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

impl Entry {
    fn set(&mut self, name: &str, value: &str) {
        self.fields.insert(name.to_owned(), value.to_owned());
    }

    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn kind(&self) -> &str {
        self.get("type")
    }

    /// What is empty is not there; flags are what they mean.
    fn checked(mut self) -> Result<Entry, String> {
        let empty: &[&str] = match self.shape {
            Shape::Secret => &["id", "src", "env"],
            Shape::Output => &["dest"],
            _ => &[],
        };
        self.fields.retain(|name, value| !(value.is_empty() && empty.contains(&name.as_str())));
        if self.shape == Shape::Output && self.kind().is_empty() {
            return Err("type is required for output".to_owned());
        }
        if matches!(self.shape, Shape::Attest | Shape::Policy) {
            for name in ["disabled", "reset", "strict"] {
                let Some(text) = self.fields.get(name) else { continue };
                let truth = truth(text).ok_or_else(|| {
                    format!(
                        "invalid value {name}={text}: strconv.ParseBool: parsing {text:?}: invalid syntax"
                    )
                })?;
                match truth || name == "strict" {
                    true => self.set(name, if truth { "true" } else { "false" }),
                    false => {
                        self.fields.remove(name);
                    }
                }
            }
        }
        Ok(self)
    }

    /// As it is printed.
    pub fn json(&self) -> Json {
        match self.shape {
            Shape::Secret => {
                let known = ["id", "src", "env"].into_iter();
                let member =
                    |name: &'static str| Some((name.to_owned(), Json::from(self.fields.get(name)?.as_str())));
                Json::Object(known.filter_map(member).collect())
            }
            Shape::Ssh => {
                let mut all = Map::new();
                if !self.get("id").is_empty() {
                    all.insert("id".to_owned(), self.get("id").into());
                }
                if !self.paths.is_empty() {
                    all.insert("paths".to_owned(), json!(self.paths));
                }
                Json::Object(all)
            }
            Shape::Policy => {
                let flag = |name: &str| self.fields.get(name).map(|text| text == "true");
                let level = ["panic", "fatal", "error", "warning", "info", "debug", "trace"];
                let level =
                    self.fields.get("log-level").and_then(|text| level.iter().position(|l| l == text));
                let files = self
                    .paths
                    .iter()
                    .map(|path| json!({ "Filename": path, "Data": null }))
                    .collect::<Vec<_>>();
                json!({
                    "Files": if files.is_empty() { Json::Null } else { files.into() },
                    "Reset": flag("reset").unwrap_or(false),
                    "Disabled": flag("disabled").unwrap_or(false),
                    "Strict": flag("strict"),
                    "LogLevel": level,
                })
            }
            _ => {
                let member = |(name, value): (&String, &String)| {
                    let value = match (self.shape, name.as_str()) {
                        (Shape::Attest, "disabled") => Json::Bool(true),
                        _ => value.as_str().into(),
                    };
                    (name.clone(), value)
                };
                Json::Object(self.fields.iter().map(member).collect())
            }
        }
    }

    /// As an option of a command line.
    pub fn line(&self) -> String {
        if self.shape == Shape::Ssh {
            return match self.paths.as_slice() {
                [] => self.get("id").to_owned(),
                paths => format!("{}={}", self.get("id"), paths.join(",")),
            };
        }
        let first = ["type", "id"].into_iter().filter_map(|name| self.fields.get_key_value(name));
        let rest = self.fields.iter().filter(|(name, _)| !matches!(name.as_str(), "type" | "id"));
        let part = |(name, value): (&String, &String)| {
            let part = format!("{name}={value}");
            if part.contains([',', '"']) { format!("\"{}\"", part.replace('"', "\"\"")) } else { part }
        };
        first.chain(rest).map(part).collect::<Vec<_>>().join(",")
    }
}

/// What stands twice goes: of those that have names, the earlier gets the later's word.
pub fn distinct(entries: Vec<Entry>) -> Vec<Entry> {
    let name = match entries.first().map(|entry| entry.shape) {
        Some(Shape::Attest) => "type",
        Some(Shape::Secret | Shape::Ssh) => "id",
        Some(Shape::Policy) | None => return entries,
        Some(_) => {
            // The order that is left is BuildKit's: what is last takes the place of what goes.
            let mut all = entries;
            for at in (0..all.len().saturating_sub(1)).rev() {
                if let Some(same) = (at + 1..all.len()).find(|other| all[*other] == all[at]) {
                    all.swap_remove(same);
                }
            }
            return all;
        }
    };
    let mut all: Vec<Entry> = Vec::new();
    for entry in entries {
        match all.iter_mut().find(|known| known.get(name) == entry.get(name)) {
            Some(known) => *known = entry,
            None => all.push(entry),
        }
    }
    all
}
