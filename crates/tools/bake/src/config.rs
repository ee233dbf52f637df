//! Targets and groups of all files, and what of them is asked for.

use std::collections::{BTreeMap, BTreeSet};

use oci::path::clean;
use serde_json::{Map, Value as Json, json};

use crate::definition::{Definitions, Instance, Resolver, Surroundings, valid_name};
use crate::entry::Entry;
use crate::language::{Diagnostics, Place};
use crate::shape::{Content, Shape, find};
use crate::target::{Granted, Override, Target};

/// A name for several targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub description: String,
    pub targets: Vec<String>,
}

/// All targets and groups, each under its name once (of groups, the first counts).
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub groups: Vec<Group>,
    pub targets: Vec<Target>,
    /// Arguments of blocks that mean nothing, where each stands.
    pub unknown: Vec<(Place, String)>,
}

/// What is built.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    groups: BTreeMap<String, Group>,
    pub targets: BTreeMap<String, Target>,
    pub granted: Granted,
}

type Overrides = BTreeMap<String, Vec<(String, Override)>>;

impl Config {
    /// Adds what definitions say to what compose files said.
    pub fn define(
        &mut self,
        definitions: &Definitions,
        around: &Surroundings<'_>,
    ) -> Result<Vec<crate::Listed>, Diagnostics> {
        let resolver = Resolver::new(definitions, around)?;
        let mut renamed: Vec<(String, Vec<String>)> = Vec::new();
        let mut wrong = Diagnostics::default();
        for instance in resolver.blocks() {
            let (kind, label) = (instance.block.kind.as_str(), &instance.block.labels[0].text);
            let target = self.fields(&resolver, &instance, &mut wrong);
            match (kind, renamed.iter_mut().find(|(name, _)| name == label)) {
                ("target", Some((_, names))) => names.push(instance.name.clone()),
                ("target", None) => renamed.push((label.clone(), vec![instance.name.clone()])),
                _ => {}
            }
            match kind {
                "target" => self.add_target(target),
                _ => self.add_group(&target),
            }
        }
        if !wrong.0.is_empty() {
            return Err(wrong);
        }
        resolver.finish()?;
        for (name, mut targets) in renamed {
            dedup(&mut targets);
            if targets != [name.as_str()] {
                self.groups.push(Group { name, targets, ..Group::default() });
            }
        }
        Ok(resolver.listed())
    }

    /// What a block says; what is wrong with it is added to `wrong`.
    fn fields(
        &mut self,
        resolver: &Resolver<'_>,
        instance: &Instance<'_>,
        wrong: &mut Diagnostics,
    ) -> Target {
        let kind = instance.block.kind.as_str();
        let mut add = |why| *wrong = std::mem::take(wrong).and(why);
        let mut target = Target::named(&instance.name);
        let mut lacks_targets = kind == "group";
        for (attribute, value) in resolver.fields(instance) {
            let Some(field) = find(kind, &attribute.name) else {
                value.err().into_iter().for_each(&mut add);
                let called = format!("{kind} {:?}: {}", instance.name, attribute.name);
                self.unknown.push((attribute.name_place, called));
                continue;
            };
            lacks_targets &= field.name != "targets";
            let unsuitable = |why: &str| {
                let detail = format!("Unsuitable value: {why}");
                Diagnostics::one(attribute.code.start(), "Unsuitable value type", detail)
            };
            match value.map(|value| field.shape.content(&value)) {
                Ok(Ok(Some(content))) => target.set(field.name, content),
                Ok(Ok(None)) => {}
                Ok(Err(why)) => add(unsuitable(&why)),
                // What is wrong with the expression, and that it therefore is no value; what can't even be
                // resolved is not looked at.
                Err(why) => {
                    let unresolved = why.0.iter().any(|one| one.summary == "Invalid expression");
                    add(why);
                    if !unresolved {
                        add(unsuitable("value must be known"));
                    }
                }
            }
        }
        if lacks_targets {
            let place = instance.block.body.end.unwrap_or(instance.block.place);
            let detail = "The argument \"targets\" is required, but no definition was found.";
            add(Diagnostics::one(place, "Missing required argument", detail));
        }
        target
    }

    /// Adds a target, or what it says to the one of its name.
    pub fn add_target(&mut self, target: Target) {
        match self.targets.iter_mut().find(|known| known.name == target.name) {
            Some(known) => known.merge(&target),
            None => self.targets.push(target),
        }
    }

    fn add_group(&mut self, fields: &Target) {
        let mut targets = fields.strings("targets").to_vec();
        dedup(&mut targets);
        let description = fields.text("description").unwrap_or_default().to_owned();
        let group = Group { name: fields.name.clone(), description, targets };
        match self.groups.iter_mut().find(|known| known.name == group.name) {
            Some(known) => *known = group,
            None => self.groups.push(group),
        }
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The names that a pattern stands for.
    fn matching(&self, pattern: &str) -> Result<Vec<String>, String> {
        if !pattern.contains(['*', '?', '[', ']']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let names = self.groups.iter().map(|group| &group.name).chain(self.targets.iter().map(|t| &t.name));
        let found: Vec<String> = names.filter(|name| fits(pattern, name)).cloned().collect();
        match found.is_empty() {
            true => Err(format!("could not find any target matching {pattern:?}")),
            false => Ok(found),
        }
    }

    /// The targets that `--set` means.
    fn overridden(&self, pattern: &str) -> Result<Vec<String>, String> {
        if self.targets.iter().any(|target| target.name == pattern) {
            return Ok(vec![pattern.to_owned()]);
        }
        let names = self.targets.iter().map(|target| target.name.clone());
        let found: Vec<String> = names.filter(|name| fits(pattern, name)).collect();
        match found.is_empty() {
            true => Err(format!("could not find any target matching '{pattern}'")),
            false => Ok(found),
        }
    }

    /// What `--set` says, by target.
    fn overrides(
        &self,
        all: &[String],
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Overrides, String> {
        let mut found = Overrides::new();
        for text in all {
            let (left, value) = text.split_once('=').map_or((text.as_str(), None), |(l, v)| (l, Some(v)));
            let (key, append) = left.strip_suffix('+').map_or((left, false), |key| (key, true));
            let (pattern, key) = key
                .split_once('.')
                .ok_or_else(|| format!("invalid override key {key}, expected target.name"))?;
            let field = key.split('.').next().unwrap_or_default();
            if value.is_none() && field != "args" {
                return Err(format!("invalid override {text}, expected target.name=value"));
            }
            let names = self.overridden(pattern)?;
            match field {
                "args" | "contexts" if field == key => {
                    return Err(format!("invalid key {left}, {field} requires name"));
                }
                "resources" | "secret" if field == key => {
                    return Err(format!("invalid key {left}, {field} requires name"));
                }
                "resources" | "secret" if append => {
                    return Err(format!("invalid key {left}, {field} does not support append"));
                }
                _ => {}
            }
            // An argument without a value has the environment's, if it has one.
            let value = match value {
                Some(value) => value.to_owned(),
                None => match lookup(key.trim_start_matches("args.")) {
                    Some(value) => value,
                    None => continue,
                },
            };
            for name in names {
                let of = found.entry(name).or_default();
                match of.iter_mut().find(|(known, _)| known == key) {
                    Some((_, over)) => {
                        over.append = append;
                        over.values.push(value.clone());
                    }
                    None => of.push((key.to_owned(), Override { values: vec![value.clone()], append })),
                }
            }
        }
        Ok(found)
    }

    /// The targets that a name stands for, and the groups on the way.
    fn resolve(
        &self,
        name: &str,
        open: &mut Vec<String>,
        targets: &mut Vec<String>,
        groups: &mut Vec<String>,
    ) {
        let Some(group) = self.group(name) else {
            targets.push(name.to_owned());
            return;
        };
        open.push(name.to_owned());
        groups.push(name.to_owned());
        for member in &group.targets {
            // A group may hold a target of its own name.
            match open.contains(member) {
                true => targets.push(member.clone()),
                false => self.resolve(member, open, targets, groups),
            }
        }
        open.pop();
    }

    /// A target with what it inherits, and what the command line says of it.
    fn target(
        &self,
        name: &str,
        visited: &mut BTreeMap<String, Option<Target>>,
        overrides: &Overrides,
        granted: &mut Granted,
    ) -> Result<Option<Target>, String> {
        if let Some(known) = visited.get(name) {
            return Ok(known.clone());
        }
        visited.insert(name.to_owned(), None);
        let own = self.targets.iter().find(|target| target.name == name);
        let own = own.ok_or_else(|| format!("failed to find target {name}"))?;
        let mut all = Target::named(name);
        for parent in own.strings("inherits") {
            if let Some(parent) = self.target(parent, visited, overrides, granted)? {
                all.merge(&parent);
            }
        }
        all.merge(own);
        for (key, over) in overrides.get(name).into_iter().flatten() {
            all.apply(key, over, granted)?;
        }
        all.normalize();
        visited.insert(name.to_owned(), Some(all.clone()));
        Ok(Some(all))
    }

    /// A target that is complete.
    fn complete(&self, name: &str, overrides: &Overrides, granted: &mut Granted) -> Result<Target, String> {
        let target = self.target(name, &mut BTreeMap::new(), overrides, granted)?;
        let mut target = target.ok_or_else(|| format!("failed to find target {name}"))?;
        target.fields.remove("inherits");
        let context = target.text("context").unwrap_or(".");
        let elsewhere =
            context.contains("://") || context.contains('@') || context.starts_with("github.com/");
        let context = if elsewhere || context == "-" { context.to_owned() } else { clean(context) };
        target.set("context", Content::Text(context));
        if target.text("dockerfile").is_none_or(str::is_empty) {
            target.set("dockerfile", Content::Text("Dockerfile".to_owned()));
        }
        Ok(target)
    }

    /// What is built if these names are asked for.
    pub fn plan(
        mut self,
        wanted: &[String],
        overrides: &[String],
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Plan, String> {
        let mut names = Vec::new();
        for name in wanted {
            names.extend(self.matching(&name.replace('.', "_"))?);
        }
        dedup(&mut names);
        let overrides = self.overrides(overrides, lookup)?;
        let mut plan = Plan::default();
        for name in &names {
            let (mut targets, mut groups) = (Vec::new(), Vec::new());
            self.resolve(name, &mut Vec::new(), &mut targets, &mut groups);
            for target in targets {
                let complete = self.complete(&target, &overrides, &mut plan.granted)?;
                plan.targets.insert(target, complete);
            }
            for group in groups {
                if let Some(found) = self.group(&group) {
                    plan.groups.insert(group, found.clone());
                }
            }
        }
        for name in names {
            if name == "default" && plan.groups.contains_key("default") {
                continue;
            }
            let default = || Group { name: "default".to_owned(), ..Group::default() };
            plan.groups.entry("default".to_owned()).or_insert_with(default).targets.push(name);
        }
        if let Some(default) = plan.groups.get_mut("default") {
            default.targets.sort();
            default.targets.dedup();
        }
        self.unknown.clear();
        for name in plan.targets.keys().cloned().collect::<Vec<_>>() {
            self.link(&name, &mut plan, &overrides, &mut Vec::new())?;
        }
        Ok(plan)
    }

    /// Adds the targets that a target takes files from.
    fn link(
        &self,
        name: &str,
        plan: &mut Plan,
        overrides: &Overrides,
        open: &mut Vec<String>,
    ) -> Result<(), String> {
        open.push(name.to_owned());
        let target = plan.targets.get(name).cloned().unwrap_or_default();
        for other in needs(&target) {
            if other == name {
                return Err(format!("target {other} cannot link to itself"));
            }
            if open.contains(&other) {
                return Err(format!("infinite loop from {name} to {other}"));
            }
            if !plan.targets.contains_key(&other) {
                let mut linked = self.complete(&other, overrides, &mut plan.granted)?;
                let fields = BTreeMap::from([("type".to_owned(), "cacheonly".to_owned())]);
                let nowhere = Entry { shape: Shape::Output, fields, paths: Vec::new() };
                linked.set("output", Content::Entries(vec![nowhere]));
                linked.linked = true;
                plan.targets.insert(other.clone(), linked);
            }
            self.link(&other, plan, overrides, open)?;
            let lender = plan.targets.get(&other).cloned().unwrap_or_default();
            let (mine, theirs) = (target.strings("platforms"), lender.strings("platforms"));
            if mine.len() > 1 && theirs.len() > 1 && !mine.iter().all(|platform| theirs.contains(platform)) {
                return Err(format!(
                    "target {other} can't be used by {name} because its platforms [{}] are not a subset of [{}]",
                    mine.join(" "),
                    theirs.join(" ")
                ));
            }
            let mut entitled =
                plan.targets.get(name).map(|t| t.strings("entitlements").to_vec()).unwrap_or_default();
            entitled.extend(lender.strings("entitlements").to_vec());
            dedup(&mut entitled);
            if let Some(target) = plan.targets.get_mut(name).filter(|_| !entitled.is_empty()) {
                target.set("entitlements", Content::Strings(entitled));
            }
        }
        open.pop();
        Ok(())
    }

    /// Targets and groups with their descriptions, by name; those whose name begins with `_` are nobody's business.
    pub fn listed(&self) -> Vec<(String, String, bool)> {
        let described = |group: &Group| {
            let mut targets = group.targets.clone();
            targets.sort();
            match (group.description.as_str(), targets.as_slice()) {
                (text, []) => text.to_owned(),
                ("", targets) => targets.join(", "),
                (text, targets) => format!("{text} ({})", targets.join(", ")),
            }
        };
        let text = |target: &Target| target.text("description").unwrap_or_default().to_owned();
        let targets = self.targets.iter().map(|target| (target.name.clone(), text(target), false));
        let groups = self.groups.iter().map(|group| (group.name.clone(), described(group), true));
        let mut all: Vec<_> = targets.chain(groups).filter(|(name, ..)| !name.starts_with('_')).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

impl Plan {
    /// What is printed.
    pub fn document(&self) -> Json {
        let mut all = Map::new();
        if !self.groups.is_empty() {
            let group = |(name, group): (&String, &Group)| {
                let mut fields = Map::new();
                if !group.description.is_empty() {
                    fields.insert("description".to_owned(), group.description.as_str().into());
                }
                fields.insert("targets".to_owned(), json!(group.targets));
                (name.clone(), Json::Object(fields))
            };
            all.insert("group".to_owned(), Json::Object(self.groups.iter().map(group).collect()));
        }
        let target = |(name, target): (&String, &Target)| (name.clone(), target.json());
        all.insert("target".to_owned(), Json::Object(self.targets.iter().map(target).collect()));
        all.into()
    }

    /// Whether another target takes files from this one.
    pub fn lends(&self, name: &str) -> bool {
        self.targets.values().any(|target| needs(target).iter().any(|other| other == name))
    }

    /// The targets from which a target takes files.
    pub fn needs(&self, name: &str) -> Vec<String> {
        self.targets.get(name).map(needs).unwrap_or_default()
    }

    /// The targets, each after those that it takes files from.
    pub fn order(&self) -> Vec<&str> {
        fn place<'p>(plan: &'p Plan, name: &str, order: &mut Vec<&'p str>, seen: &mut BTreeSet<String>) {
            let Some((name, target)) = plan.targets.get_key_value(name) else { return };
            if seen.insert(name.clone()) {
                needs(target).iter().for_each(|other| place(plan, other, order, seen));
                order.push(name);
            }
        }
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        self.targets.keys().for_each(|name| place(self, name, &mut order, &mut seen));
        order
    }
}

fn needs(target: &Target) -> Vec<String> {
    target.map("contexts").filter_map(|(_, at)| at.strip_prefix("target:").map(str::to_owned)).collect()
}

fn dedup(names: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
}

/// Whether a name fits a pattern of the shell: `*`, `?` and `[a-z]`.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = letters.as_str();
            (0..=name.len()).any(|at| name.is_char_boundary(at) && fits(rest, &name[at..]))
        }
        Some('[') => {
            let Some((set, rest)) = letters.as_str().split_once(']') else { return false };
            let (set, wanted) = set.strip_prefix('^').map_or((set, true), |set| (set, false));
            let Some(first) = name.chars().next() else { return false };
            let all: Vec<char> = set.chars().collect();
            let mut found = false;
            let mut at = 0;
            while at < all.len() {
                let to = if all.get(at + 1) == Some(&'-') { all.get(at + 2) } else { None };
                found |= (all[at]..=*to.unwrap_or(&all[at])).contains(&first);
                at += if to.is_some() { 3 } else { 1 };
            }
            found == wanted && fits(rest, &name[first.len_utf8()..])
        }
        Some(letter) => {
            let escaped = letter == '\\';
            let letter = if escaped { letters.next().unwrap_or('\\') } else { letter };
            let Some(first) = name.chars().next() else { return false };
            ((letter == '?' && !escaped) || first == letter)
                && fits(letters.as_str(), &name[first.len_utf8()..])
        }
    }
}

/// A compose service's name as a target's.
pub fn service_name(name: &str) -> Result<String, String> {
    let name = name.replace('.', "_");
    valid_name(&name).map_err(|why| format!("invalid service name {name:?}: {why}"))?;
    Ok(name)
}
