//! A service of a compose file, and the target that it is.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{World, items, rebased};
use crate::config::service_name;
use crate::entry::{Entry, distinct, parse};
use crate::shape::{Content, Shape};
use crate::target::Target;

/// The keys of `build`.
const BUILD: &[&str] = &[
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "no_cache_filter",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// A service with what matters, in one form: `build` is an object, pairs are objects, paths are the project's.
pub fn normal(name: &str, service: Value, base: &str) -> Result<Value, String> {
    let Value::Object(service) = service else {
        return match service {
            Value::Null => Ok(Value::Object(Map::new())),
            _ => Err(format!("services.{name} must be a mapping")),
        };
    };
    let mut all = Map::new();
    for (key, value) in service {
        match key.as_str() {
            "build" => {
                all.insert(key, build(name, value, base)?);
            }
            "environment" => {
                all.insert(key, pairs(value, &['=']));
            }
            "env_file" => {
                let files = items(Some(value)).into_iter().map(|file| match file {
                    Value::String(path) => Value::from(rebased(base, &path)),
                    other => other,
                });
                all.insert(key, files.collect());
            }
            "image" | "extends" => {
                all.insert(key, value);
            }
            _ => {}
        }
    }
    Ok(Value::Object(all))
}

fn build(name: &str, value: Value, base: &str) -> Result<Value, String> {
    let mut build = match value {
        Value::Null => return Ok(Value::Null),
        Value::String(context) => Map::from_iter([("context".to_owned(), context.into())]),
        Value::Object(build) => build,
        other => {
            let kind = match other {
                Value::Bool(_) => "bool",
                Value::Number(_) => "int",
                _ => "[]interface {}",
            };
            return Err(format!("services.{name}.build: invalid type {kind} for build"));
        }
    };
    for (key, value) in &mut build {
        if !BUILD.contains(&key.as_str()) && !key.starts_with("x-") {
            return Err(format!("services.{name}.build additional properties '{key}' not allowed"));
        }
        let own = std::mem::take(value);
        *value = match (key.as_str(), own) {
            ("context", Value::String(path)) => local(base, &path).into(),
            ("args" | "labels", own) => pairs(own, &['=']),
            ("additional_contexts", own) => match pairs(own, &['=']) {
                Value::Object(contexts) => {
                    let one = |(name, at): (String, Value)| {
                        let at = at.as_str().map_or(at.clone(), |at| local(base, at).into());
                        (name, at)
                    };
                    contexts.into_iter().map(one).collect()
                }
                other => other,
            },
            ("extra_hosts", own) => hosts(own),
            ("ssh", Value::Object(agents)) => agents.iter().map(agent).collect(),
            ("cache_from" | "cache_to" | "tags" | "platforms" | "ssh", own) => items(Some(own)).into(),
            (_, own) => own,
        };
    }
    Ok(Value::Object(build))
}

/// A context's path, if it is one.
fn local(base: &str, path: &str) -> String {
    let special = ["service:", "target:", "docker-image:", "oci-layout:", "git@"];
    if special.iter().any(|prefix| path.starts_with(prefix)) { path.to_owned() } else { rebased(base, path) }
}

/// `{a: b}` or `["a=b"]`, as an object.
fn pairs(value: Value, between: &[char]) -> Value {
    let Value::Array(items) = value else { return value };
    let pair = |item: Value| {
        let item = text(&item);
        match item.split_once(between) {
            Some((name, value)) => (name.to_owned(), Value::from(value)),
            None => (item, Value::Null),
        }
    };
    Value::Object(items.into_iter().map(pair).collect())
}

/// An agent of a mapping, as a line.
fn agent((id, path): (&String, &Value)) -> Value {
    match text(path).as_str() {
        "" => id.as_str().into(),
        path => format!("{id}={}", path.strip_prefix("./").unwrap_or(path)).into(),
    }
}

/// Hosts with all their addresses: of an item, the name ends at `=` or else at the first `:`.
fn hosts(value: Value) -> Value {
    let all: Vec<(String, Vec<Value>)> = match value {
        Value::Array(hosts) => {
            let one = |host: Value| {
                let host = text(&host);
                let (name, at) = host.split_once('=').or_else(|| host.split_once(':')).unwrap_or((&host, ""));
                (name.to_owned(), vec![Value::from(at.trim_matches(['[', ']']))])
            };
            hosts.into_iter().map(one).collect()
        }
        Value::Object(hosts) => hosts.into_iter().map(|(name, at)| (name, items(Some(at)))).collect(),
        other => return other,
    };
    let mut joined = Map::new();
    for (name, mut at) in all {
        match joined.get_mut(&name).and_then(Value::as_array_mut) {
            Some(known) => known.append(&mut at),
            None => {
                joined.insert(name, at.into());
            }
        }
    }
    Value::Object(joined)
}

/// `over` on top of what is there: objects member by member, lists one behind the other.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(known) if !value.is_null() => merge(known, value),
                    Some(_) => {}
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(base), Value::Array(over)) => {
            let new: Vec<Value> = over.into_iter().filter(|item| !base.contains(item)).collect();
            base.extend(new);
        }
        (base, over) => *base = over,
    }
}

/// A scalar as text, numbers as Go prints them.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Number(number) if number.is_f64() => float(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// The shortest digits, with an exponent where that is below -4 or above 5.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&power) {
        return value.to_string();
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(word) => matches!(word.to_lowercase().as_str(), "true" | "yes" | "y" | "on" | "1"),
        _ => false,
    }
}

/// The target of a service; `None` if it is not built.
pub fn target(
    name: &str,
    service: &Value,
    secrets: &Map<String, Value>,
    world: &World<'_>,
) -> Result<Option<Target>, String> {
    let build = &service["build"];
    if build.is_null() {
        return Ok(None);
    }
    if !build["dockerfile"].is_null() && !build["dockerfile_inline"].is_null() {
        return Err(format!(
            "service {name:?} declares mutualy exclusive dockerfile and dockerfile_inline: invalid compose project"
        ));
    }
    let mut target = Target::named(&service_name(name)?);
    for (key, field) in [
        ("context", "context"),
        ("dockerfile", "dockerfile"),
        ("dockerfile_inline", "dockerfile-inline"),
        ("network", "network"),
        ("target", "target"),
    ] {
        if let Some(value) = build[key].as_str().filter(|value| !value.is_empty()) {
            target.set(field, Content::Text(value.to_owned()));
        }
    }
    for (key, field) in [("no_cache", "no-cache"), ("pull", "pull")] {
        if truth(&build[key]) {
            target.set(field, Content::Flag(true));
        }
    }
    let size = bytes(&build["shm_size"])?;
    if size > 0 {
        target.set("shm-size", Content::Text(shown(size)));
    }
    maps(&mut target, service, world);
    lists(&mut target, build)?;
    options(&mut target, name, build, secrets)?;
    if !build["x-bake"].is_null() {
        extra(&mut target, &build["x-bake"])?;
    }
    if target.strings("tags").is_empty()
        && let Some(image) = service["image"].as_str()
    {
        target.set("tags", Content::Strings(vec![image.to_owned()]));
    }
    Ok(Some(target))
}

fn maps(target: &mut Target, service: &Value, world: &World<'_>) {
    let build = &service["build"];
    let members = |key: &str| build[key].as_object().into_iter().flatten();
    let environment = service["environment"].as_object();
    // An argument without a value has the service's variable, or the environment's.
    let own = |name: &str| environment.and_then(|all| all.get(name)).filter(|v| !v.is_null()).map(text);
    let arguments = members("args").filter_map(|(name, value)| match value {
        Value::Null => Some((name.clone(), own(name).or_else(|| (world.lookup)(name))?)),
        value => Some((name.clone(), text(value))),
    });
    let arguments: BTreeMap<String, String> = arguments.collect();
    let labels = members("labels").map(|(name, value)| (name.clone(), text(value)));
    let labels: BTreeMap<String, String> = labels.collect();
    let hosts = members("extra_hosts").map(|(name, at)| (name.clone(), strings(at).join(",")));
    let hosts: BTreeMap<String, String> = hosts.collect();
    let contexts = members("additional_contexts").map(|(name, at)| (name.clone(), context(&text(at))));
    let contexts: BTreeMap<String, String> = contexts.collect();
    for (field, map) in
        [("args", arguments), ("labels", labels), ("extra-hosts", hosts), ("contexts", contexts)]
    {
        if !map.is_empty() {
            target.set(field, Content::Map(map));
        }
    }
}

/// Another service's result is another target's.
fn context(at: &str) -> String {
    match at.strip_prefix("service:").or_else(|| at.strip_prefix("target:")) {
        Some(service) => format!("target:{}", service.replace('.', "_")),
        None if at.contains(':') => at.to_owned(),
        None => {
            let parts: Vec<&str> = at.split('/').filter(|part| *part != ".").collect();
            if at.starts_with('.') && !parts.is_empty() { parts.join("/") } else { at.to_owned() }
        }
    }
}

fn lists(target: &mut Target, build: &Value) -> Result<(), String> {
    for (key, field) in [("tags", "tags"), ("platforms", "platforms"), ("no_cache_filter", "no-cache-filter")]
    {
        let list = strings(&build[key]);
        if !list.is_empty() {
            target.set(field, Content::Strings(list));
        }
    }
    let mut limits = Vec::new();
    for (name, limit) in build["ulimits"].as_object().into_iter().flatten() {
        let one = |value: &Value| text(value).parse::<i64>().map_err(|_| format!("invalid ulimit {name}"));
        let (soft, hard) = match limit {
            Value::Object(both) => {
                let either = |key: &str| both.get(key).map_or(Ok(0), one);
                (either("soft")?, either("hard")?)
            }
            both => (one(both)?, one(both)?),
        };
        limits.push(format!("{name}={soft}:{hard}"));
    }
    if !limits.is_empty() {
        target.set("ulimits", Content::Strings(limits));
    }
    let mut entitled = strings(&build["entitlements"]);
    if truth(&build["privileged"]) {
        entitled.push("security.insecure".to_owned());
    }
    if !entitled.is_empty() {
        target.set("entitlements", Content::Strings(entitled));
    }
    Ok(())
}

fn options(
    target: &mut Target,
    service: &str,
    build: &Value,
    known: &Map<String, Value>,
) -> Result<(), String> {
    let all = |shape: Shape, lines: Vec<String>| -> Result<Vec<Entry>, String> {
        let lines = lines.iter().filter(|line| !line.is_empty());
        Ok(lines.map(|line| parse(shape, line)).collect::<Result<Vec<_>, _>>()?.concat())
    };
    let mut secrets = Vec::new();
    for secret in build["secrets"].as_array().into_iter().flatten() {
        let source = secret.as_str().or_else(|| secret["source"].as_str()).unwrap_or_default();
        let Some(found) = known.get(source) else {
            return Err(format!(
                "service {service:?} refers to undefined build secret {source}: invalid compose project"
            ));
        };
        if truth(&found["external"]) {
            return Err(format!("unsupported external secret {source}"));
        }
        let path = |path: &str| path.strip_prefix("./").unwrap_or(path).to_owned();
        let mut fields = BTreeMap::from([("id".to_owned(), source.to_owned())]);
        fields.extend(found["file"].as_str().map(|file| ("src".to_owned(), path(file))));
        fields.extend(found["environment"].as_str().map(|name| ("env".to_owned(), name.to_owned())));
        secrets.push(Entry { shape: Shape::Secret, fields, paths: Vec::new() });
    }
    let agents = match &build["ssh"] {
        Value::Array(lines) => lines.iter().map(text).collect(),
        _ => Vec::new(),
    };
    let mut agents = all(Shape::Ssh, agents)?;
    agents.sort_by(|one, other| one.get("id").cmp(other.get("id")));
    let mut attests = Vec::new();
    for (key, kind) in [("sbom", "sbom"), ("provenance", "provenance")] {
        attests.extend(attestation(kind, &text(&build[key])));
    }
    for (field, entries) in [
        ("secret", secrets),
        ("ssh", agents),
        ("attest", all(Shape::Attest, attests)?),
        ("cache-from", all(Shape::Cache, strings(&build["cache_from"]))?),
        ("cache-to", all(Shape::Cache, strings(&build["cache_to"]))?),
    ] {
        if !entries.is_empty() {
            target.set(field, Content::Entries(entries));
        }
    }
    Ok(())
}

/// `true`, `false` or options, as an attestation.
pub fn attestation(kind: &str, text: &str) -> Option<String> {
    match (text, crate::entry::truth(text)) {
        ("", _) => None,
        (_, Some(on)) => Some(format!("type={kind},disabled={}", !on)),
        (options, None) => Some(format!("type={kind},{options}")),
    }
}

/// What `x-bake` adds.
fn extra(target: &mut Target, own: &Value) -> Result<(), String> {
    // A list, or words in one string.
    let words = |key: &str| -> Vec<String> {
        match &own[key] {
            Value::String(line) => line.split_whitespace().map(str::to_owned).collect(),
            other => strings(other),
        }
    };
    for field in ["tags", "platforms", "no-cache-filter"] {
        let mut all = target.strings(field).to_vec();
        for word in words(field) {
            if !all.contains(&word) {
                all.push(word);
            }
        }
        if !all.is_empty() {
            target.set(field, Content::Strings(all));
        }
    }
    for (field, shape) in [
        ("cache-from", Shape::Cache),
        ("cache-to", Shape::Cache),
        ("secret", Shape::Secret),
        ("ssh", Shape::Ssh),
        ("output", Shape::Output),
    ] {
        let lines = words(field);
        if lines.is_empty() {
            continue;
        }
        let new = lines.iter().map(|line| parse(shape, line)).collect::<Result<Vec<_>, _>>()?.concat();
        let mut all = distinct(target.entries(field).iter().cloned().chain(new).collect());
        if shape == Shape::Ssh {
            all.sort_by(|one, other| one.get("id").cmp(other.get("id")));
        }
        target.set(field, Content::Entries(all));
    }
    for field in ["pull", "no-cache"] {
        if let Some(flag) = own[field].as_bool() {
            target.set(field, Content::Flag(flag));
        }
    }
    if let Some(contexts) = own["contexts"].as_object() {
        let mut all: BTreeMap<String, String> =
            contexts.iter().map(|(name, at)| (name.clone(), context(&text(at)))).collect();
        all.extend(target.map("contexts").map(|(name, at)| (name.clone(), at.clone())));
        target.set("contexts", Content::Map(all));
    }
    Ok(())
}

/// `64m`, `1gb` or a number of bytes.
fn bytes(value: &Value) -> Result<u64, String> {
    let text = text(value).to_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return if unit.is_empty() { Ok(0) } else { Err(format!("invalid size: '{text}'")) };
    }
    let shift = match unit.trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("invalid size: '{text}'")),
    };
    let number: f64 = number.parse().map_err(|_| format!("invalid size: '{text}'"))?;
    Ok((number * (1_u64 << shift) as f64) as u64)
}

/// Bytes in the largest unit, with four digits.
fn shown(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit + 1 < units.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    let digits = 3 - (size.max(1.0).log10().floor() as usize).min(3);
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}
