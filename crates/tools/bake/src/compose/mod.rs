//! Compose files: services with a `build` are targets, as Docker's bake reads them.
//!
//! Files are read one by one: variables first, then what a service extends and what a file includes; several files
//! are one, the later's word on top. Profiles hide nothing here.

mod dotenv;
mod interpolate;
mod service;

use serde_json::{Map, Value};

pub use dotenv::parse as dotenv;
pub use service::attestation as service_attestation;

use crate::config::{Config, Group};

/// Files inside of each other at most, by `include` and `extends`.
const DEPTH: usize = 32;

/// The variable that is there although nobody sets it, and what projects are called that say nothing.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";
const NAME: &str = "bake";

/// What compose files may look at.
pub struct World<'w> {
    pub lookup: &'w dyn Fn(&str) -> Option<String>,
    /// Another file's text, by its path.
    pub read: &'w dyn Fn(&str) -> Result<String, String>,
}

/// A file: its name and its text.
pub struct File<'f> {
    pub name: &'f str,
    pub text: &'f str,
}

/// Services and secrets of all files together.
#[derive(Default)]
struct Project {
    services: Map<String, Value>,
    secrets: Map<String, Value>,
}

/// Whether a text may be a compose file: an object with services in it.
pub fn looks_like(text: &str) -> bool {
    let document: Result<Value, _> = serde_saphyr::from_str(text);
    document.is_ok_and(|document| document["services"].is_object())
}

/// Adds the services of the files as targets, and a group `default` of all of them.
pub fn read(files: &[File<'_>], world: &World<'_>, config: &mut Config) -> Result<(), String> {
    let name = files.iter().rev().find_map(|file| name(file.text)).unwrap_or_else(|| NAME.to_owned());
    let lookup = |variable: &str| {
        (world.lookup)(variable).or_else(|| (variable == PROJECT_NAME).then(|| name.clone()))
    };
    let world = &World { lookup: &lookup, read: world.read };
    let mut project = Project::default();
    for file in files {
        let document = document(file.text, world).map_err(|why| format!("{}: {why}", file.name))?;
        project.add(document, "", world, 0)?;
    }
    if project.services.is_empty() && project.secrets.is_empty() {
        return Err("empty compose file".to_owned());
    }
    if project.services.is_empty() {
        return Ok(());
    }
    let mut group = Group { name: "default".to_owned(), ..Group::default() };
    for (name, service) in &project.services {
        let has = |key: &str| service.get(key).is_some_and(|value| !value.is_null() && value != "");
        if !has("build") && !has("image") && !has("provider") {
            let what = "has neither an image nor a build context specified: invalid compose project";
            return Err(format!("failed to parse compose file: service {name:?} {what}"));
        }
        if let Some(target) = service::target(name, service, &project.secrets, world)
            .map_err(|why| format!("failed to parse compose file: {why}"))?
        {
            group.targets.push(target.name.clone());
            config.add_target(target);
        }
    }
    config.groups.push(group);
    Ok(())
}

/// The name that a file gives its project.
fn name(text: &str) -> Option<String> {
    let document: Value = serde_saphyr::from_str(text).ok()?;
    document["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A file as a document, with its variables replaced.
fn document(text: &str, world: &World<'_>) -> Result<Map<String, Value>, String> {
    if let Some((line, tag)) = merge_tag(text) {
        return Err(format!(
            "line {line}: the tag {tag} is not supported: leave out in the earlier file what is to go"
        ));
    }
    let document: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(mut document) = document else { return Err("empty compose file".to_owned()) };
    document.retain(|key, _| matches!(key.as_str(), "services" | "secrets" | "include"));
    for (key, value) in &mut document {
        interpolate::within(key, value, world.lookup)?;
    }
    Ok(document)
}

/// The first tag that says how a value goes on top of an earlier file's, and its line: what it means is lost once the file is read.
fn merge_tag(text: &str) -> Option<(usize, &'static str)> {
    let tagged = |line: &str, tag: &str| {
        let code = line.split_once(" #").map_or(line, |(code, _)| code);
        let word = code.split_whitespace().position(|word| word == tag);
        word.is_some_and(|place| place > 0) && !code.trim_start().starts_with('#')
    };
    let tags = ["!reset", "!override"];
    text.lines()
        .enumerate()
        .find_map(|(at, line)| tags.into_iter().find(|tag| tagged(line, tag)).map(|tag| (at + 1, tag)))
}

impl Project {
    /// Adds a document whose paths are relative to `base`.
    fn add(
        &mut self,
        mut document: Map<String, Value>,
        base: &str,
        world: &World<'_>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH {
            return Err("compose files include each other without end".to_owned());
        }
        for included in items(document.remove("include")) {
            self.include(&included, base, world, depth)?;
        }
        let services = object(document.remove("services"), "services")?;
        let mut all = Map::new();
        for name in services.keys() {
            all.insert(name.clone(), extended(name, &services, base, world, &mut Vec::new())?);
        }
        for (name, service) in all {
            let known = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
            if !known || name.is_empty() {
                return Err(format!("services additional properties '{name}' not allowed"));
            }
            match self.services.get_mut(&name) {
                Some(known) => service::merge(known, service),
                None => {
                    self.services.insert(name, service);
                }
            }
        }
        for (name, mut secret) in object(document.remove("secrets"), "secrets")? {
            if let Some(file) = secret.get("file").and_then(Value::as_str) {
                secret["file"] = rebased(base, file).into();
            }
            self.secrets.insert(name, secret);
        }
        Ok(())
    }

    fn include(
        &mut self,
        included: &Value,
        base: &str,
        world: &World<'_>,
        depth: usize,
    ) -> Result<(), String> {
        let paths = match included {
            Value::String(_) => items(Some(included.clone())),
            other => items(other.get("path").cloned()),
        };
        let mut folder = None;
        for path in paths {
            let path = rebased(base, path.as_str().ok_or("include: a path is no string")?);
            let text = (world.read)(&path)?;
            let document = document(&text, world).map_err(|why| format!("{path}: {why}"))?;
            let own = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            let project = included.get("project_directory").and_then(Value::as_str);
            let folder = folder.get_or_insert(project.map_or(own, |folder| rebased(base, folder)));
            self.add(document, folder, world, depth + 1)?;
        }
        Ok(())
    }
}

/// A service on top of the one that it extends.
fn extended(
    name: &str,
    services: &Map<String, Value>,
    base: &str,
    world: &World<'_>,
    open: &mut Vec<(String, String)>,
) -> Result<Value, String> {
    let mut own = service::normal(name, services.get(name).cloned().unwrap_or(Value::Null), base)?;
    let key = (base.to_owned(), name.to_owned());
    if open.contains(&key) || open.len() > DEPTH {
        return Err(format!("Circular reference: {name} extends itself"));
    }
    open.push(key);
    let extends = own.as_object_mut().and_then(|own| own.remove("extends"));
    let found = match &extends {
        None => None,
        Some(Value::String(parent)) => Some((parent.as_str(), None)),
        Some(extends) => {
            let parent = extends.get("service").and_then(Value::as_str);
            let parent = parent.ok_or_else(|| format!("services.{name}.extends: service is required"))?;
            Some((parent, extends.get("file").and_then(Value::as_str)))
        }
    };
    let parent = match found {
        None => None,
        Some((parent, None)) => {
            if !services.contains_key(parent) {
                return Err(format!("cannot extend service {name:?} in : service {parent:?} not found"));
            }
            Some(extended(parent, services, base, world, open)?)
        }
        Some((parent, Some(file))) => {
            let path = rebased(base, file);
            let mut document =
                document(&(world.read)(&path)?, world).map_err(|why| format!("{path}: {why}"))?;
            let services = object(document.remove("services"), "services")?;
            if !services.contains_key(parent) {
                return Err(format!(
                    "cannot extend service {name:?} in {path}: service {parent:?} not found"
                ));
            }
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            Some(extended(parent, &services, folder, world, open)?)
        }
    };
    open.pop();
    Ok(match parent {
        Some(mut parent) => {
            service::merge(&mut parent, own);
            parent
        }
        None => own,
    })
}

/// A list, or one item.
fn items(value: Option<Value>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    }
}

fn object(value: Option<Value>, what: &str) -> Result<Map<String, Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(format!("{what} must be a mapping")),
    }
}

/// A path that is relative to a folder.
fn rebased(base: &str, path: &str) -> String {
    let elsewhere = path.starts_with('/') || path.starts_with('~') || path.contains("://");
    if elsewhere || base.is_empty() { path.to_owned() } else { format!("{base}/{path}") }
}
