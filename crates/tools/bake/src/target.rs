//! A target: how what files and the command line say of it comes together.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::entry::{self, Entry, distinct, truth};
use crate::shape::{Content, Joined, RESOURCES, Shape, TARGET, find};
use crate::value::{Value, parse, whole};

/// A target's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub fields: BTreeMap<&'static str, Content>,
    /// Only other targets take files from it: it goes nowhere itself.
    pub linked: bool,
}

/// What the command line allows by naming it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    pub network_host: bool,
    pub security_insecure: bool,
    pub read: Vec<String>,
    pub write: Vec<String>,
}

/// What `--set` says of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Override {
    pub values: Vec<String>,
    pub append: bool,
}

impl Target {
    pub fn named(name: &str) -> Target {
        Target { name: name.to_owned(), ..Target::default() }
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        match self.fields.get(field) {
            Some(Content::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn flag(&self, field: &str) -> bool {
        matches!(self.fields.get(field), Some(Content::Flag(true)))
    }

    pub fn strings(&self, field: &str) -> &[String] {
        match self.fields.get(field) {
            Some(Content::Strings(items)) => items,
            _ => &[],
        }
    }

    pub fn map(&self, field: &str) -> impl Iterator<Item = (&String, &String)> {
        let map = match self.fields.get(field) {
            Some(Content::Map(map)) => Some(map),
            _ => None,
        };
        map.into_iter().flatten()
    }

    pub fn entries(&self, field: &str) -> &[Entry] {
        match self.fields.get(field) {
            Some(Content::Entries(entries)) => entries,
            _ => &[],
        }
    }

    pub fn set(&mut self, field: &'static str, content: Content) {
        self.fields.insert(field, content);
    }

    /// Limits of build steps, as options of a command line.
    pub fn resources(&self) -> Vec<String> {
        let Some(Content::Resources(limits)) = self.fields.get("resources") else { return Vec::new() };
        let shown = |value: &Value| match value {
            Value::Number(number) => crate::value::text(number),
            value => value.as_str().unwrap_or_default().to_owned(),
        };
        limits.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect()
    }

    /// `over` on top of what is there.
    pub fn merge(&mut self, over: &Target) {
        for (name, content) in &over.fields {
            let joined = find("target", name).map_or(Joined::Replaced, |field| field.joined);
            match (joined, self.fields.get_mut(name), content) {
                (Joined::Appended, Some(Content::Map(known)), Content::Map(new)) => {
                    known.extend(new.clone());
                }
                (Joined::Appended, Some(Content::Strings(known)), Content::Strings(new)) => {
                    known.extend(new.clone());
                }
                (Joined::Appended, Some(Content::Entries(known)), Content::Entries(new)) => {
                    *known = distinct(known.iter().chain(new).cloned().collect());
                }
                (Joined::Appended, Some(Content::Resources(known)), Content::Resources(new)) => {
                    let mut all: BTreeMap<&str, Value> = known.iter().cloned().collect();
                    all.extend(new.iter().cloned());
                    *known = RESOURCES.iter().filter_map(|(n, _)| Some((*n, all.remove(n)?))).collect();
                }
                (_, _, Content::Text(text)) if text.is_empty() && *name == "description" => {}
                _ => {
                    self.fields.insert(name, content.clone());
                }
            }
        }
    }

    /// Nothing twice, nothing empty; a host's network is an entitlement.
    pub fn normalize(&mut self) {
        if self.text("network") == Some("host") {
            let mut all = self.strings("entitlements").to_vec();
            all.push("network.host".to_owned());
            self.set("entitlements", Content::Strings(all));
        }
        for (name, content) in &mut self.fields {
            match content {
                Content::Strings(items) if *name != "inherits" => {
                    let mut seen = Vec::new();
                    items.retain(|item| {
                        let new = !item.is_empty() && !seen.contains(item);
                        seen.push(item.clone());
                        new
                    });
                }
                Content::Entries(entries) => *entries = distinct(std::mem::take(entries)),
                Content::Map(map) if *name == "contexts" => map.retain(|_, context| !context.is_empty()),
                _ => {}
            }
        }
    }

    /// As bake prints it: fields in order, without those that are empty.
    pub fn json(&self) -> Json {
        let mut all = Map::new();
        for field in TARGET {
            let Some(content) = self.fields.get(field.name) else { continue };
            let escaped =
                matches!(field.name, "annotations" | "dockerfile-inline" | "labels" | "args" | "extra-hosts");
            let text = |text: &str| match escaped {
                true => text.replace("${", "$${").replace("%{", "%%{"),
                false => text.to_owned(),
            };
            let value = match content {
                Content::Text(empty) if empty.is_empty() && field.name == "description" => continue,
                Content::Text(line) => text(line).into(),
                Content::Flag(truth) => (*truth).into(),
                Content::Strings(items) if items.is_empty() => continue,
                Content::Strings(items) => {
                    Json::from(items.iter().map(|item| text(item)).collect::<Vec<_>>())
                }
                Content::Map(map) if map.is_empty() => continue,
                Content::Map(map) => {
                    Json::Object(map.iter().map(|(name, value)| (name.clone(), text(value).into())).collect())
                }
                Content::Entries(entries) if entries.is_empty() => continue,
                Content::Entries(entries) => entries.iter().map(Entry::json).collect(),
                Content::Resources(limits) => {
                    let value = |value: &Value| match value {
                        Value::Number(number) => json!(whole(number)),
                        value => json!(value.as_str()),
                    };
                    Json::Object(limits.iter().map(|(n, v)| ((*n).to_owned(), value(v))).collect())
                }
            };
            all.insert(field.name.to_owned(), value);
        }
        Json::Object(all)
    }

    /// Applies what `--set` says of `key` (`args.NAME`, `tags`).
    pub fn apply(&mut self, key: &str, over: &Override, granted: &mut Granted) -> Result<(), String> {
        let (key, name) = key.split_once('.').map_or((key, None), |(key, name)| (key, Some(name)));
        let last = over.values.last().cloned().unwrap_or_default();
        let flag = || truth(&last).ok_or_else(|| format!("invalid value {last} for boolean key {key}"));
        match key {
            "push" => return flag().map(|on| self.push(on)),
            "load" => return flag().map(|on| self.load(on)),
            "secret" => return self.replaced_secret(name.unwrap_or_default(), &last, granted),
            "resources" => return self.limit(name, &last),
            _ => {}
        }
        let field = match key {
            "platform" => "platforms",
            "secrets" => "secret",
            other => other,
        };
        let unknown = || format!("unknown key: {key}");
        let known = find("target", field)
            .filter(|_| !matches!(key, "platforms" | "inherits" | "description" | "dockerfile-inline"));
        let field = known.ok_or_else(unknown)?;
        let content = match (field.shape, name) {
            (Shape::Map, Some(name)) => Content::Map(BTreeMap::from([(name.to_owned(), last)])),
            (Shape::Map, None) => {
                let what = if key == "extra-hosts" { "<hostname>=<ip>" } else { "<name>=<value>" };
                return Err(format!("invalid format for {key}, expecting {key}.{what}"));
            }
            (Shape::Text, _) => Content::Text(last),
            (Shape::Flag, _) => Content::Flag(flag()?),
            (Shape::Strings, _) => Content::Strings(over.values.clone()),
            (shape, _) => Content::Entries(parsed(shape, &over.values)?),
        };
        let added = over.append
            || matches!(key, "annotations" | "attest" | "entitlements")
            || field.shape == Shape::Map;
        match (added, self.fields.get_mut(field.name), content) {
            (true, Some(Content::Map(known)), Content::Map(new)) => known.extend(new),
            (true, Some(Content::Strings(known)), Content::Strings(new)) => known.extend(new),
            (true, Some(Content::Entries(known)), Content::Entries(new)) => {
                *known = distinct(std::mem::take(known).into_iter().chain(new).collect());
            }
            (_, _, content) => self.set(field.name, content),
        }
        self.grant(key, over, granted);
        Ok(())
    }

    /// What is named on the command line needs no further permission.
    fn grant(&self, key: &str, over: &Override, granted: &mut Granted) {
        let local = |field: &str, attribute: &str| -> Vec<String> {
            let local = self.entries(field).iter().filter(|entry| entry.kind() == "local");
            local.filter_map(|entry| entry.fields.get(attribute).cloned()).collect()
        };
        match key {
            "cache-from" => granted.read.extend(local("cache-from", "src")),
            "cache-to" => granted.write.extend(local("cache-to", "dest")),
            "output" => {
                let places =
                    self.entries("output").iter().filter_map(|entry| entry.fields.get("dest").cloned());
                granted.write.extend(places);
            }
            "ssh" => granted.read.extend(self.entries("ssh").iter().flat_map(|entry| entry.paths.clone())),
            "secrets" => {
                granted
                    .read
                    .extend(self.entries("secret").iter().filter_map(|s| s.fields.get("src").cloned()));
            }
            "entitlements" => {
                granted.network_host |= over.values.iter().any(|value| value == "network.host");
                granted.security_insecure |= over.values.iter().any(|value| value == "security.insecure");
            }
            _ => {}
        }
    }

    fn replaced_secret(&mut self, id: &str, text: &str, granted: &mut Granted) -> Result<(), String> {
        if id.is_empty() {
            return Err("invalid format for secret, expecting secret.<id>=<value>".to_owned());
        }
        let undeclared = || format!("secret {id:?} must be declared before it can be overridden");
        let Some(Content::Entries(known)) = self.fields.get_mut("secret") else { return Err(undeclared()) };
        let known = known.iter_mut().find(|entry| entry.get("id") == id).ok_or_else(undeclared)?;
        let mut next = entry::parse(Shape::Secret, text)?.swap_remove(0);
        match next.get("id") {
            "" => {}
            other if other != id => {
                return Err(format!("secret override id {other:?} does not match declared secret {id:?}"));
            }
            _ => {}
        }
        next.fields.insert("id".to_owned(), id.to_owned());
        granted.read.extend(next.fields.get("src").cloned());
        *known = next;
        Ok(())
    }

    fn limit(&mut self, name: Option<&str>, text: &str) -> Result<(), String> {
        let name = name.ok_or("invalid format for resources, expecting resources.<name>=<value>")?;
        let (name, number) = RESOURCES
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| format!("unknown resources key {name}"))?;
        let value = match number {
            false => Value::from(text),
            true => {
                let number = parse(text).filter(|number| whole(number).is_some());
                number
                    .map(Value::Number)
                    .ok_or_else(|| format!("invalid value {text} for int64 key resources.{name}"))?
            }
        };
        let mut over = Target::default();
        over.set("resources", Content::Resources(vec![(name, value)]));
        self.merge(&over);
        Ok(())
    }

    /// `--push`: an image goes to its registry; outputs that are no images stay what they are.
    fn push(&mut self, on: bool) {
        let mut outputs = self.entries("output").to_vec();
        if !on {
            while let Some(at) = outputs.iter().position(|output| output.kind() == "registry") {
                outputs.swap_remove(at);
            }
        }
        for output in outputs.iter_mut().filter(|output| output.kind() == "image") {
            output.fields.insert("push".to_owned(), on.to_string());
        }
        if on && outputs.iter().all(|output| output.kind() == "docker") {
            let fields = [("type", "image"), ("push", "true")].map(|(n, v)| (n.to_owned(), v.to_owned()));
            outputs.push(Entry { shape: Shape::Output, fields: fields.into(), paths: Vec::new() });
        }
        self.set("output", Content::Entries(outputs));
    }

    /// `--load`: an image is kept here, unless files or archives are asked for.
    fn load(&mut self, on: bool) {
        let mut outputs = self.entries("output").to_vec();
        let image = |output: &Entry| match output.kind() {
            "docker" => output.fields.contains_key("dest"),
            kind => matches!(kind, "image" | "registry" | "oci"),
        };
        if on && outputs.iter().all(image) {
            let fields = BTreeMap::from([("type".to_owned(), "docker".to_owned())]);
            outputs.push(Entry { shape: Shape::Output, fields, paths: Vec::new() });
            self.set("output", Content::Entries(outputs));
        }
    }
}

fn parsed(shape: Shape, values: &[String]) -> Result<Vec<Entry>, String> {
    let mut all = Vec::new();
    for value in values.iter().filter(|value| !value.is_empty()) {
        let what = match shape {
            Shape::Attest => "invalid value for attest: ",
            Shape::Output | Shape::Secret | Shape::Ssh => "invalid value for outputs: ",
            _ => "",
        };
        all.extend(entry::parse(shape, value).map_err(|why| format!("{what}{why}"))?);
    }
    Ok(all)
}
