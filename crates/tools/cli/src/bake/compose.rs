//! The targets of a compose file: its services with a `build`, as Docker's bake reads them.

use serde_json::{Map, Value, json};

use super::evaluate::Source;
use crate::error::Error;

/// Adds a compose file's services as targets, and a group `default` of all of them.
pub fn read(
    source: &mut Source,
    file: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    let text = interpolate(text, environment).map_err(|why| Error::new(format!("{file}: {why}")))?;
    let document: Value =
        serde_saphyr::from_str(&text).map_err(|error| Error::new(format!("{file}: {error}")))?;
    let Some(services) = document["services"].as_object() else {
        return Err(Error::new(format!("{file}: it has no services")));
    };
    let mut names = Vec::new();
    for (name, service) in services {
        let build = match &service["build"] {
            Value::Null => continue,
            Value::String(context) => json!({ "context": context }),
            Value::Object(build) => Value::Object(build.clone()),
            _ => {
                return Err(Error::new(format!(
                    "{file}: service {name:?}: build is neither a path nor an object"
                )));
            }
        };
        // Names of targets hold no dots.
        let target = name.replace('.', "_");
        source.plain("target", &target, &fields(&build, service));
        names.push(Value::from(target));
    }
    source.plain("group", "default", &Map::from_iter([("targets".to_owned(), Value::from(names))]));
    Ok(())
}

fn fields(build: &Value, service: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            fields.insert(key.to_owned(), value);
        }
    };
    put("context", build["context"].clone());
    put("dockerfile", build["dockerfile"].clone());
    put("dockerfile-inline", build["dockerfile_inline"].clone());
    put("args", pairs(&build["args"]));
    put("labels", pairs(&build["labels"]));
    put("contexts", pairs(&build["additional_contexts"]));
    put("extra-hosts", pairs(&build["extra_hosts"]));
    put("target", build["target"].clone());
    put("network", build["network"].clone());
    put("cache-from", build["cache_from"].clone());
    put("cache-to", build["cache_to"].clone());
    put("platforms", build["platforms"].clone());
    put("no-cache", build["no_cache"].clone());
    put("pull", build["pull"].clone());
    put("shm-size", build["shm_size"].clone());
    put("ssh", build["ssh"].clone());
    put("entitlements", build["entitlements"].clone());
    let tags = match (&build["tags"], &service["image"]) {
        (Value::Array(tags), _) if !tags.is_empty() => Value::from(tags.clone()),
        (_, Value::String(image)) => json!([image]),
        _ => Value::Null,
    };
    put("tags", tags);
    if let Some(own) = build["x-bake"].as_object() {
        for (key, value) in own {
            let list = matches!(
                key.as_str(),
                "tags"
                    | "platforms"
                    | "cache-from"
                    | "cache-to"
                    | "output"
                    | "secret"
                    | "ssh"
                    | "no-cache-filter"
            );
            let value = if list && !value.is_array() { json!([value]) } else { value.clone() };
            put(key, value);
        }
    }
    fields
}

/// `{a: b}` or `["a=b"]`.
fn pairs(value: &Value) -> Value {
    let Value::Array(items) = value else { return value.clone() };
    let pair = |item: &Value| {
        let text = item.as_str().unwrap_or_default();
        match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Value::from(value)),
            None => (text.to_owned(), Value::Null),
        }
    };
    Value::Object(items.iter().map(pair).collect())
}

/// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`; `$$` is a dollar.
fn interpolate(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (inside, after) = after.split_once('}').ok_or("${ without }")?;
            let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
            let (name, operator) = inside.split_at(end);
            let value = environment(name);
            let set = value.clone().filter(|value| !operator.starts_with(':') || !value.is_empty());
            let operator = operator.strip_prefix(':').unwrap_or(operator);
            match (set, operator.chars().next()) {
                (Some(_), Some('+')) => out.push_str(&operator[1..]),
                (None, Some('+')) => {}
                (Some(value), _) => out.push_str(&value),
                (None, Some('-')) => out.push_str(&operator[1..]),
                (None, Some('?')) => return Err(format!("{name}: {}", &operator[1..])),
                (None, _) => {}
            }
            rest = after;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            out.push_str(&environment(&rest[..end]).unwrap_or_default());
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn variables() {
        let environment = |name: &str| (name == "A").then(|| "a".to_owned());
        let done = super::interpolate("$A ${A} ${B:-b} ${B} $$A ${A:+set}", &environment);
        assert_eq!(done.as_deref(), Ok("a a b  $A set"));
        assert!(super::interpolate("${B:?needed}", &environment).is_err());
    }
}
