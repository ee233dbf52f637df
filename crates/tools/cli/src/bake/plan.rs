//! Which targets are built: groups resolved, parents merged, overrides applied, an order in which each finds what it needs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::evaluate::Evaluated;
use super::target::{self, Target};
use crate::error::Error;

/// What was asked for.
pub struct Plan {
    /// Groups that were named, with `default` for what was named besides it.
    groups: BTreeMap<String, Vec<String>>,
    /// The targets by name.
    pub targets: BTreeMap<String, Target>,
    /// Those that were asked for, and not only needed by others.
    wanted: BTreeSet<String>,
}

/// What `--set` says of one field.
struct Override<'t> {
    pattern: &'t str,
    key: &'t str,
    name: Option<&'t str>,
    append: bool,
    values: Vec<&'t str>,
}

/// All blocks of all files by name; blocks of one name are one.
struct Blocks {
    targets: BTreeMap<String, Target>,
    groups: BTreeMap<String, Vec<String>>,
    descriptions: BTreeMap<String, String>,
}

impl Blocks {
    fn new(blocks: Vec<Evaluated>) -> Result<Blocks, Error> {
        let (mut targets, mut groups) = (BTreeMap::<String, Target>::new(), BTreeMap::new());
        let mut descriptions = BTreeMap::new();
        for block in blocks {
            if block.kind == "target" {
                let fields = target::normal(&block.name, block.fields)?;
                target::merge(targets.entry(block.name).or_default(), &fields);
                continue;
            }
            let members = block.fields.get("targets").and_then(Value::as_array).cloned().unwrap_or_default();
            let members = members.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            if let Some(text) = block.fields.get("description").and_then(Value::as_str) {
                descriptions.insert(block.name.clone(), text.to_owned());
            }
            groups.insert(block.name, members);
        }
        Ok(Blocks { targets, groups, descriptions })
    }

    /// The targets that a name stands for, and the groups on the way.
    fn resolve(
        &self,
        name: &str,
        targets: &mut Vec<String>,
        groups: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        if let Some(members) = self.groups.get(name) {
            if groups.insert(name.to_owned()) {
                for member in members {
                    // A group may hold a target of its own name.
                    if member == name {
                        self.target(member, targets)?;
                    } else {
                        self.resolve(member, targets, groups)?;
                    }
                }
            }
            return Ok(());
        }
        self.target(name, targets)
    }

    fn target(&self, name: &str, targets: &mut Vec<String>) -> Result<(), Error> {
        if !self.targets.contains_key(name) {
            return Err(self.unknown(name));
        }
        if !targets.iter().any(|known| known == name) {
            targets.push(name.to_owned());
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<&str> = self.targets.keys().chain(self.groups.keys()).map(String::as_str).collect();
        Error::new(format!("failed to find target {name}: there are {}", known.join(", ")))
    }

    /// A target with what it inherits.
    fn merged(&self, name: &str, open: &mut Vec<String>) -> Result<Target, Error> {
        if open.iter().any(|known| known == name) {
            return Err(Error::new(format!("infinite loop: {} inherits itself", open.join(" → "))));
        }
        let own = self.targets.get(name).ok_or_else(|| self.unknown(name))?;
        open.push(name.to_owned());
        let mut all = Target::new();
        for parent in own.get("inherits").and_then(Value::as_array).into_iter().flatten() {
            target::merge(&mut all, &self.merged(parent.as_str().unwrap_or_default(), open)?);
        }
        open.pop();
        target::merge(&mut all, own);
        all.remove("inherits");
        all.remove("name");
        Ok(all)
    }
}

impl Plan {
    /// Resolves names to targets, and those from which they take files.
    pub fn make(blocks: Vec<Evaluated>, wanted: &[String]) -> Result<Plan, Error> {
        let blocks = Blocks::new(blocks)?;
        let (mut names, mut groups) = (Vec::new(), BTreeSet::new());
        for name in wanted {
            blocks.resolve(name, &mut names, &mut groups)?;
        }
        let mut shown: BTreeMap<String, Vec<String>> = groups
            .into_iter()
            .filter_map(|name| Some((name.clone(), blocks.groups.get(&name)?.clone())))
            .collect();
        for name in wanted.iter().filter(|name| *name != "default") {
            let default = shown.entry("default".to_owned()).or_default();
            if !default.contains(name) {
                default.push(name.clone());
            }
        }
        let wanted = names.iter().cloned().collect();
        let mut targets = BTreeMap::new();
        while let Some(name) = names.pop() {
            if targets.contains_key(&name) {
                continue;
            }
            let target = blocks.merged(&name, &mut Vec::new())?;
            names.extend(needs(&target));
            targets.insert(name, target);
        }
        Ok(Plan { groups: shown, targets, wanted })
    }

    /// Every target and group with its description.
    pub fn every(blocks: Vec<Evaluated>) -> Result<Vec<(String, String, bool)>, Error> {
        let blocks = Blocks::new(blocks)?;
        let description = |target: &Target| {
            target.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let groups = blocks.groups.keys();
        let described = |name: &String| blocks.descriptions.get(name).cloned().unwrap_or_default();
        let mut all: Vec<_> = groups.map(|name| (name.clone(), described(name), true)).collect();
        all.extend(blocks.targets.iter().map(|(name, target)| (name.clone(), description(target), false)));
        all.sort();
        Ok(all)
    }

    /// Applies `pattern.key[.name][+]=value`.
    pub fn apply(&mut self, overrides: &[String]) -> Result<(), Error> {
        let mut together: Vec<Override<'_>> = Vec::new();
        for text in overrides {
            let (left, value) = text
                .split_once('=')
                .ok_or_else(|| Error::new(format!("invalid override {text}, expected target.key=value")))?;
            let (left, append) = left.strip_suffix('+').map_or((left, false), |left| (left, true));
            let mut parts = left.splitn(3, '.');
            let (Some(pattern), Some(key)) = (parts.next(), parts.next()) else {
                return Err(Error::new(format!("invalid override {text}, expected target.key=value")));
            };
            let name = parts.next();
            let same = together.iter_mut().find(|o| o.pattern == pattern && o.key == key && o.name == name);
            match same {
                Some(known) => known.values.push(value),
                None => together.push(Override { pattern, key, name, append, values: vec![value] }),
            }
        }
        for Override { pattern, key, name, append, values } in &together {
            // What another target needs is not sent anywhere for its sake.
            let wanted = &self.wanted;
            let reaches = |target: &String| !matches!(*key, "push" | "load") || wanted.contains(target);
            let hit: Vec<&mut Target> = self
                .targets
                .iter_mut()
                .filter(|(target, _)| matches(pattern, target) && reaches(target))
                .map(|(_, t)| t)
                .collect();
            if hit.is_empty() {
                return Err(Error::new(format!("could not find any target matching '{pattern}'")));
            }
            for target in hit {
                target::set(target, key, *name, values, *append)?;
            }
        }
        Ok(())
    }

    /// What `--print` shows.
    pub fn document(&self) -> Value {
        let mut all = Map::new();
        if !self.groups.is_empty() {
            let group =
                |(name, targets): (&String, &Vec<String>)| (name.clone(), json!({ "targets": targets }));
            all.insert("group".into(), Value::Object(self.groups.iter().map(group).collect()));
        }
        let target =
            |(name, target): (&String, &Target)| (name.clone(), Value::Object(target::printed(target)));
        all.insert("target".into(), Value::Object(self.targets.iter().map(target).collect()));
        all.into()
    }

    /// The targets from which this one takes files.
    pub fn needs(&self, name: &str) -> Vec<String> {
        let all = self.targets.get(name).map(needs).unwrap_or_default();
        all.into_iter().filter(|other| self.targets.contains_key(other)).collect()
    }

    /// Whether another target takes files from this one.
    pub fn lends(&self, name: &str) -> bool {
        self.targets.values().any(|target| needs(target).iter().any(|other| other == name))
    }

    /// The targets, each after those that it takes files from.
    pub fn order(&self) -> Result<Vec<&str>, Error> {
        let mut order = Vec::new();
        for name in self.targets.keys() {
            self.place(name, &mut order, &mut Vec::new())?;
        }
        Ok(order)
    }

    fn place<'p>(
        &'p self,
        name: &str,
        order: &mut Vec<&'p str>,
        open: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Some((name, target)) = self.targets.get_key_value(name) else { return Ok(()) };
        if order.contains(&name.as_str()) {
            return Ok(());
        }
        if open.contains(name) {
            return Err(Error::new(format!("infinite loop: {} takes files from itself", open.join(" → "))));
        }
        open.push(name.clone());
        for other in needs(target) {
            self.place(&other, order, open)?;
        }
        open.pop();
        order.push(name);
        Ok(())
    }
}

/// The targets from which a target takes files.
fn needs(target: &Target) -> Vec<String> {
    let contexts = target.get("contexts").and_then(Value::as_object);
    let named = contexts.into_iter().flat_map(|map| map.values());
    named.filter_map(|value| value.as_str()?.strip_prefix("target:").map(str::to_owned)).collect()
}

/// Whether a name fits a pattern with `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => match name.strip_prefix(before) {
            None => false,
            Some(rest) => (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(after, &rest[at..])),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::Source;
    use super::*;

    fn plan(files: &[(&str, &str)], wanted: &[&str], sets: &[&str]) -> Result<Value, String> {
        let environment = |name: &str| (name == "FROM_ENV").then(|| "yes".to_owned());
        let mut source = Source::default();
        for (name, text) in files {
            let read = match name.rsplit('.').next() {
                Some("json") => source.json(name, text),
                Some("yaml") => super::super::compose::read(&mut source, name, text, &environment),
                _ => source.hcl(name, text),
            };
            read.map_err(|e| e.message)?;
        }
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let blocks = source.blocks(&environment).map_err(|e| e.message)?;
        let mut plan = Plan::make(blocks, &words(wanted)).map_err(|e| e.message)?;
        plan.apply(&words(sets)).map_err(|e| e.message)?;
        plan.order().map_err(|e| e.message)?;
        Ok(plan.document())
    }

    const HCL: &str = r#"
        variable "TAG" { default = "latest" }
        variable "FROM_ENV" { default = "no" }
        variable "DEBUG" {
          default = false
          validation {
            condition = DEBUG == false || TAG != ""
            error_message = "TAG is needed"
          }
        }
        function "name" {
          params = [part]
          result = "me/${part}:${TAG}"
        }
        group "default" { targets = ["app", "tools"] }
        target "_base" {
          args = { A = "1", B = 2 }
          labels = { made = upper("here") }
          cache-from = ["type=registry,ref=me/cache"]
        }
        target "app" {
          inherits = ["_base"]
          dockerfile = "app.Dockerfile"
          args = { B = FROM_ENV }
          tags = [name("app"), "other"]
          contexts = { tools = "target:tools" }
          output = ["type=docker"]
        }
        target "tools" {
          context = "tools"
          platforms = DEBUG ? [] : ["linux/amd64", "linux/arm64"]
        }
        target "many" {
          name = "many-${os}-${replace(v, ".", "-")}"
          matrix = { os = ["a", "b"], v = ["1.0", "2.0"] }
          args = { V = v }
        }
    "#;

    #[test]
    fn what_is_printed() {
        let printed = plan(&[("x.hcl", HCL)], &["default"], &[]).unwrap();
        assert_eq!(
            printed,
            json!({
                "group": { "default": { "targets": ["app", "tools"] } },
                "target": {
                    "app": {
                        "context": ".",
                        "contexts": { "tools": "target:tools" },
                        "dockerfile": "app.Dockerfile",
                        "args": { "A": "1", "B": "yes" },
                        "labels": { "made": "HERE" },
                        "tags": ["me/app:latest", "other"],
                        "cache-from": [{ "type": "registry", "ref": "me/cache" }],
                        "output": [{ "type": "docker" }],
                    },
                    "tools": {
                        "context": "tools",
                        "dockerfile": "Dockerfile",
                        "platforms": ["linux/amd64", "linux/arm64"],
                    },
                },
            })
        );
        let keys: Vec<&String> = printed["target"]["app"].as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["context", "contexts", "dockerfile", "args", "labels", "tags", "cache-from", "output"]
        );
    }

    #[test]
    fn matrix_and_overrides() {
        let printed = plan(
            &[("x.hcl", HCL), ("override.json", r#"{"target": {"tools": {"args": {"X": "${TAG}-x"}}}}"#)],
            &["many", "tools"],
            &[
                "many-a*.args.V=9",
                "*.platform=linux/amd64",
                "tools.tags=a",
                "tools.tags=b",
                "tools.tags+=c",
                "*.no-cache=true",
            ],
        )
        .unwrap();
        assert_eq!(printed["group"]["default"]["targets"], json!(["many", "tools"]));
        assert_eq!(printed["group"]["many"]["targets"].as_array().unwrap().len(), 4);
        assert_eq!(printed["target"]["many-a-1-0"]["args"]["V"], "9");
        assert_eq!(printed["target"]["many-b-2-0"]["args"]["V"], "2.0");
        assert_eq!(printed["target"]["tools"]["platforms"], json!(["linux/amd64"]));
        assert_eq!(printed["target"]["tools"]["tags"], json!(["a", "b", "c"]));
        assert_eq!(printed["target"]["tools"]["args"]["X"], "latest-x");
        assert_eq!(printed["target"]["tools"]["no-cache"], true);
    }

    #[test]
    fn compose_files() {
        let text = "services:\n  web:\n    image: me/web:${FROM_ENV}\n    build:\n      context: ./web\n      args: [A=1]\n      x-bake:\n        platforms: [linux/amd64]\n  db:\n    image: postgres\n";
        let printed = plan(&[("compose.yaml", text)], &["default"], &[]).unwrap();
        assert_eq!(
            printed["target"]["web"],
            json!({ "context": "./web", "dockerfile": "Dockerfile", "args": { "A": "1" }, "tags": ["me/web:yes"], "platforms": ["linux/amd64"] })
        );
        assert!(printed["target"].get("db").is_none());
    }

    #[test]
    fn what_is_wrong() {
        for (text, want) in [
            ("target \"a\" { nope = 1 }", "unknown field"),
            ("target \"a\" { inherits = [\"b\"] }\ntarget \"b\" { inherits = [\"a\"] }", "infinite loop"),
            ("target \"a\" { tags = [nothing] }", "nothing"),
            ("target \"b\" {}", "failed to find target a"),
            ("target \"a\" { contexts = { x = \"target:a\" } }", "takes files from itself"),
            (
                "function \"f\" {\n params = []\n result = f()\n}\ntarget \"a\" { tags = [f()] }",
                "without end",
            ),
            (
                "variable \"V\" {\n default = 1\n validation {\n condition = V > 1\n error_message = \"too small\"\n }\n}\ntarget \"a\" {}",
                "too small",
            ),
            ("target \"a\" {", "x.hcl"),
        ] {
            let error = plan(&[("x.hcl", text)], &["a"], &[]).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert!(plan(&[("x.hcl", "target \"a\" {}")], &["a"], &["b.tags=x"]).is_err());
        assert!(plan(&[("x.hcl", "target \"a\" {}")], &["a"], &["a.wrong=x"]).is_err());
    }
}
