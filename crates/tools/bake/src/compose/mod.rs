//! Compose files: services with a `build` are targets, as Docker's bake reads them.
//!
//! Files are read one by one: variables first, then what a service extends and what a file includes; several files
//! are one, the later's word on top, or in place of the earlier's where [`tags`] say so. Profiles hide nothing here.

mod dotenv;
mod interpolate;
mod service;
mod tags;

use serde_json::{Map, Value};

pub use dotenv::parse as dotenv;
pub use service::attestation as service_attestation;

use crate::config::{Config, Group};
use tags::{Document, Place};

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
    Document::read(text).is_ok_and(|document| document.value["services"].is_object())
}

/// Adds the services of the files as targets, and a group `default` of all of them.
pub fn read(files: &[File<'_>], world: &World<'_>, config: &mut Config) -> Result<(), String> {
    let documents = files.iter().map(|file| (file.name, Document::read(file.text))).collect::<Vec<_>>();
    let names = documents.iter().rev().filter_map(|(_, document)| document.as_ref().ok().and_then(name));
    let name = names.into_iter().next().unwrap_or_else(|| NAME.to_owned());
    let lookup = |variable: &str| {
        (world.lookup)(variable).or_else(|| (variable == PROJECT_NAME).then(|| name.clone()))
    };
    let world = &World { lookup: &lookup, read: world.read };
    let mut project = Project::default();
    for (file, document) in documents {
        let layer = document.and_then(|document| Layer::new(document, world));
        project.add(layer.map_err(|why| format!("{file}: {why}"))?, "", world, 0)?;
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
fn name(document: &Document) -> Option<String> {
    document.value["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// What a file lays on top of those before it, as it stands there.
struct Layer {
    include: Vec<Value>,
    services: Map<String, Value>,
    secrets: Map<String, Value>,
    cleared: Vec<Place>,
}

impl Layer {
    fn read(path: &str, world: &World<'_>) -> Result<Layer, String> {
        let layer = Document::read(&(world.read)(path)?).and_then(|document| Layer::new(document, world));
        layer.map_err(|why| format!("{path}: {why}"))
    }

    /// With its variables replaced.
    fn new(Document { value, cleared }: Document, world: &World<'_>) -> Result<Layer, String> {
        let Value::Object(mut members) = value else { return Err("empty compose file".to_owned()) };
        let mut section = |key: &str| -> Result<Option<Value>, String> {
            let mut value = members.remove(key);
            value.iter_mut().try_for_each(|value| interpolate::within(key, value, world.lookup))?;
            Ok(value)
        };
        Ok(Layer {
            include: items(section("include")?),
            services: object(section("services")?, "services")?,
            secrets: object(section("secrets")?, "secrets")?,
            cleared,
        })
    }

    /// Takes away from what a service extends what it resets.
    fn clear(&self, service: &str, parent: &mut Value) {
        let Some(parent) = parent.as_object_mut() else { return };
        for place in &self.cleared {
            if let [section, name, rest @ ..] = place.as_slice()
                && section == "services"
                && name == service
            {
                tags::clear(parent, rest);
            }
        }
    }
}

impl Project {
    /// Adds a document whose paths are relative to `base`.
    fn add(&mut self, layer: Layer, base: &str, world: &World<'_>, depth: usize) -> Result<(), String> {
        if depth > DEPTH {
            return Err("compose files include each other without end".to_owned());
        }
        for included in &layer.include {
            self.include(included, base, world, depth)?;
        }
        layer.cleared.iter().for_each(|place| self.clear(place));
        let mut all = Map::new();
        for name in layer.services.keys() {
            all.insert(name.clone(), extended(name, &layer, base, world, &mut Vec::new())?);
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
        for (name, mut secret) in layer.secrets {
            if let Some(file) = secret.get("file").and_then(Value::as_str) {
                secret["file"] = rebased(base, file).into();
            }
            self.secrets.insert(name, secret);
        }
        Ok(())
    }

    /// Forgets what earlier files say at a place.
    fn clear(&mut self, place: &[String]) {
        let (section, rest) = match place.split_first() {
            Some((section, rest)) if section == "services" => (&mut self.services, rest),
            Some((section, rest)) if section == "secrets" => (&mut self.secrets, rest),
            _ => return,
        };
        match rest.is_empty() {
            true => section.clear(),
            false => tags::clear(section, rest),
        }
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
            let layer = Layer::read(&path, world)?;
            let own = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            let project = included.get("project_directory").and_then(Value::as_str);
            let folder = folder.get_or_insert(project.map_or(own, |folder| rebased(base, folder)));
            self.add(layer, folder, world, depth + 1)?;
        }
        Ok(())
    }
}

/// A service on top of the one that it extends.
fn extended(
    name: &str,
    layer: &Layer,
    base: &str,
    world: &World<'_>,
    open: &mut Vec<(String, String)>,
) -> Result<Value, String> {
    let mut own = service::normal(name, layer.services.get(name).cloned().unwrap_or(Value::Null), base)?;
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
            if !layer.services.contains_key(parent) {
                return Err(format!("cannot extend service {name:?} in : service {parent:?} not found"));
            }
            Some(extended(parent, layer, base, world, open)?)
        }
        Some((parent, Some(file))) => {
            let path = rebased(base, file);
            let other = Layer::read(&path, world)?;
            if !other.services.contains_key(parent) {
                return Err(format!(
                    "cannot extend service {name:?} in {path}: service {parent:?} not found"
                ));
            }
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            Some(extended(parent, &other, folder, world, open)?)
        }
    };
    open.pop();
    Ok(match parent {
        Some(mut parent) => {
            layer.clear(name, &mut parent);
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
