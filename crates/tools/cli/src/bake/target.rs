//! A target: how files, parents and the command line come together, and what of `build` it stands for.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::options::mount::csv;

/// The fields in the order in which buildx prints them.
const FIELDS: &[&str] = &[
    "description",
    "annotations",
    "attest",
    "context",
    "contexts",
    "dockerfile",
    "dockerfile-inline",
    "args",
    "labels",
    "tags",
    "cache-from",
    "cache-to",
    "target",
    "secret",
    "ssh",
    "platforms",
    "output",
    "pull",
    "no-cache",
    "network",
    "no-cache-filter",
    "shm-size",
    "ulimits",
    "call",
    "entitlements",
    "extra-hosts",
];
/// Fields whose entries are kept side by side.
const MAPS: &[&str] = &["contexts", "args", "labels", "extra-hosts"];
/// Fields to which entries are added.
const APPENDED: &[&str] = &["annotations", "attest", "entitlements"];
/// Fields that are lists of options with names.
const OPTIONS: &[&str] = &["attest", "cache-from", "cache-to", "secret", "ssh", "output"];

/// A target's fields.
pub type Target = Map<String, Value>;

/// The fields of a block as they are kept; an unknown one is an error.
pub fn normal(name: &str, fields: Map<String, Value>) -> Result<Target, Error> {
    let mut target = Target::new();
    for (key, value) in fields {
        let key = match key.as_str() {
            "secrets" => "secret".to_owned(),
            "outputs" => "output".to_owned(),
            _ => key,
        };
        if value.is_null() {
            continue;
        }
        if !FIELDS.contains(&key.as_str()) && !matches!(key.as_str(), "inherits" | "name") {
            return Err(Error::new(format!("target {name:?}: unknown field {key:?}")));
        }
        let value = shape(&key, value).map_err(|why| Error::new(format!("target {name:?}: {key}: {why}")))?;
        target.insert(key, value);
    }
    Ok(target)
}

fn shape(key: &str, value: Value) -> Result<Value, String> {
    if MAPS.contains(&key) {
        let Value::Object(object) = value else { return Err("an object is needed".into()) };
        let pairs = object.into_iter().filter(|(_, value)| !value.is_null());
        return Ok(pairs
            .map(|(key, value)| Ok((key, text(&value)?.into())))
            .collect::<Result<Map<_, _>, String>>()?
            .into());
    }
    if OPTIONS.contains(&key) {
        let items = match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        return items.iter().map(|item| option(key, item)).collect::<Result<Vec<_>, _>>().map(Value::from);
    }
    match key {
        "tags" | "platforms" | "annotations" | "entitlements" | "no-cache-filter" | "ulimits"
        | "inherits" => {
            let items = match value {
                Value::Array(items) => items,
                one => vec![one],
            };
            items
                .iter()
                .map(|item| text(item).map(Value::from))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::from)
        }
        "pull" | "no-cache" => match value {
            Value::Bool(_) => Ok(value),
            Value::String(word) => Ok((word == "true" || word == "1").into()),
            _ => Err("true or false is needed".into()),
        },
        _ => text(&value).map(Value::from),
    }
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err("a string is needed".into()),
    }
}

/// `type=registry,ref=x` as an object, as newer versions of buildx print it.
fn option(key: &str, value: &Value) -> Result<Value, String> {
    let line = match value {
        Value::Object(_) => return Ok(value.clone()),
        other => text(other)?,
    };
    let fields = csv(&line)?;
    if let [only] = fields.as_slice()
        && (!only.contains('=') || key == "ssh")
    {
        return Ok(match key {
            "cache-from" | "cache-to" => json!({ "type": "registry", "ref": only }),
            "output" if only == "-" => json!({ "type": "tar", "dest": "-" }),
            "output" => json!({ "type": "local", "dest": only }),
            "ssh" => match only.split_once('=') {
                Some((id, paths)) => json!({ "id": id, "paths": paths.split(',').collect::<Vec<_>>() }),
                None => json!({ "id": only }),
            },
            "attest" => json!({ "type": only }),
            _ => json!({ "id": only }),
        });
    }
    let mut object = Map::new();
    for field in &fields {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("{field:?} is no key=value"))?;
        object.insert(name.trim().to_owned(), value.into());
    }
    Ok(object.into())
}

/// `over` on top of `base`.
pub fn merge(base: &mut Target, over: &Target) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(new)) if MAPS.contains(&key.as_str()) => {
                known.extend(new.clone());
            }
            (Some(Value::Array(known)), Value::Array(new)) if APPENDED.contains(&key.as_str()) => {
                known.extend(new.iter().filter(|item| !known.contains(item)).cloned().collect::<Vec<_>>());
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
    // The Dockerfile is one of both.
    if over.contains_key("dockerfile-inline") && !over.contains_key("dockerfile") {
        base.remove("dockerfile");
    }
}

/// As buildx prints it: fields in order, defaults filled in.
pub fn printed(target: &Target) -> Target {
    let mut target = target.clone();
    target.entry("context").or_insert_with(|| ".".into());
    if !target.contains_key("dockerfile-inline") {
        target.entry("dockerfile").or_insert_with(|| "Dockerfile".into());
    }
    FIELDS.iter().filter_map(|key| Some(((*key).to_owned(), target.get(*key)?.clone()))).collect()
}

/// Applies `--set`: `key[.name]` and a value. A list is replaced by all values that are set together.
pub fn set(
    target: &mut Target,
    key: &str,
    name: Option<&str>,
    values: &[&str],
    append: bool,
) -> Result<(), Error> {
    let wrong = |why: String| Error::new(format!("invalid value for {key}: {why}"));
    let last = values.last().copied().unwrap_or_default();
    let field = match key {
        "platform" => "platforms",
        "secrets" => "secret",
        "outputs" => "output",
        "label" => "labels",
        "tag" => "tags",
        other => other,
    };
    match (field, name) {
        ("push" | "load", None) => {
            if last == "true" || last == "1" {
                deliver(target, field == "push");
            }
            return Ok(());
        }
        (_, Some(name)) if MAPS.contains(&field) => {
            let map = target.entry(field).or_insert_with(|| json!({}));
            map[name] = last.into();
            return Ok(());
        }
        (_, None) if FIELDS.contains(&field) && !MAPS.contains(&field) => {}
        _ => {
            return Err(Error::new(format!(
                "unknown key: {key}{}",
                name.map(|n| format!(".{n}")).unwrap_or_default()
            )));
        }
    }
    let list = shape(field, json!(["type=x"])).is_ok_and(|value| value.is_array());
    let value = match list {
        true => shape(field, json!(values)).map_err(wrong)?,
        false => shape(field, last.into()).map_err(wrong)?,
    };
    match (append, target.get_mut(field), value) {
        (true, Some(Value::Array(known)), Value::Array(new)) => known.extend(new),
        (_, _, value) => {
            target.insert(field.to_owned(), value);
        }
    }
    Ok(())
}

/// `--push` and `--load`: outputs that are no images stay what they are.
fn deliver(target: &mut Target, push: bool) {
    let outputs = target.entry("output").or_insert_with(|| json!([]));
    let Some(outputs) = outputs.as_array_mut() else { return };
    let kind = |output: &Value| output["type"].as_str().unwrap_or_default().to_owned();
    if !push {
        if !outputs.iter().any(|output| kind(output) == "docker") {
            outputs.push(json!({ "type": "docker" }));
        }
        return;
    }
    for output in outputs.iter_mut().filter(|output| kind(output) == "image") {
        output["push"] = "true".into();
    }
    if outputs.is_empty() {
        outputs.push(json!({ "type": "registry" }));
    }
}

/// The flags of `build` that the target stands for, without its context.
pub fn flags(target: &Target) -> Vec<String> {
    let mut flags = Vec::new();
    let words = |key: &str| -> Vec<String> {
        let items = target.get(key).and_then(Value::as_array);
        items.into_iter().flatten().map(line).collect()
    };
    for (key, flag) in [
        ("annotations", "annotation"),
        ("attest", "attest"),
        ("tags", "tag"),
        ("cache-from", "cache-from"),
        ("cache-to", "cache-to"),
        ("secret", "secret"),
        ("output", "output"),
        ("ulimits", "ulimit"),
        ("no-cache-filter", "no-cache-filter"),
        ("platforms", "platform"),
        ("entitlements", "allow"),
    ] {
        flags.extend(words(key).into_iter().map(|value| format!("--{flag}={value}")));
    }
    let agents = target.get("ssh").and_then(Value::as_array);
    for agent in agents.into_iter().flatten() {
        let id = agent["id"].as_str().unwrap_or("default");
        let paths =
            agent["paths"].as_array().map(|paths| paths.iter().filter_map(Value::as_str).collect::<Vec<_>>());
        flags.push(match paths {
            Some(paths) => format!("--ssh={id}={}", paths.join(",")),
            None => format!("--ssh={id}"),
        });
    }
    for (key, flag, between) in
        [("args", "build-arg", "="), ("labels", "label", "="), ("extra-hosts", "add-host", ":")]
    {
        let map = target.get(key).and_then(Value::as_object);
        flags.extend(
            map.into_iter().flatten().map(|(name, value)| format!("--{flag}={name}{between}{}", line(value))),
        );
    }
    for (key, flag) in
        [("target", "target"), ("network", "network"), ("shm-size", "shm-size"), ("call", "call")]
    {
        if let Some(value) = target.get(key).and_then(Value::as_str) {
            flags.push(format!("--{flag}={value}"));
        }
    }
    for key in ["pull", "no-cache"] {
        if target.get(key).and_then(Value::as_bool) == Some(true) {
            flags.push(format!("--{key}"));
        }
    }
    flags
}

/// A value as a flag has it.
fn line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => {
            let field = |(key, value): (&String, &Value)| {
                let field = format!("{key}={}", line(value));
                if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
            };
            object.iter().map(field).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}
