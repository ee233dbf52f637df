//! What a target can be given: arguments, secrets, agents.

use super::{Answer, Asked, Location, Question, base64, columns, description, document, is_false, lint};
use crate::ast::{Instruction, KeyValue, Kind, Mount, MountKind};
use crate::expand::Expander;
use crate::{Error, Span};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
struct Outline {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Required>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Required>,
    sources: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Arg {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    location: Location,
    #[serde(skip)]
    line: u32,
    /// Arguments that its default refers to.
    #[serde(skip)]
    uses: BTreeSet<String>,
}

#[derive(Serialize)]
struct Required {
    name: String,
    #[serde(skip_serializing_if = "is_false")]
    required: bool,
    location: Location,
    #[serde(skip)]
    line: u32,
}

type Args = BTreeMap<String, Arg>;

/// Tells what the target can be given.
pub fn outline(question: &Question<'_>) -> Result<Answer, Error> {
    let file = question.parse()?;
    let globals = question.globals(&file)?;
    let asked = Asked::new(&file, &globals);
    let index = asked.target(question.target)?;
    let mut found = Found { args: BTreeMap::new(), secrets: BTreeMap::new(), ssh: BTreeMap::new() };
    let known = global_args(&asked, question);
    let mut scopes = Scopes { asked: &asked, done: BTreeMap::new() };
    let reached = asked.reached(index)?;
    if let Some(error) = lint::unusable_base(&asked, Some(&reached)) {
        return Err(error);
    }
    // What several stages declare is told as the target has it, else what it is based on, else another.
    let mut order = vec![index];
    let mut next = asked.base(index)?;
    while let Some(base) = next {
        order.push(base);
        next = asked.base(base)?;
    }
    let bases: BTreeSet<usize> = order.iter().copied().collect();
    order.extend(reached.into_iter().rev().filter(|index| !bases.contains(index)));
    for index in order {
        found.stage(question, &known, &mut scopes, index)?;
    }
    let stage = &file.stages[index];
    let name = stage.from.name.as_ref().map(|name| name.text.clone()).unwrap_or_default();
    let mut args: Vec<Arg> = found.args.into_values().collect();
    args.sort_by_key(|arg| arg.line);
    let sorted = |map: BTreeMap<String, Required>| {
        let mut list: Vec<Required> = map.into_values().collect();
        list.sort_by_key(|item| item.line);
        list
    };
    let outline = Outline {
        description: description(&stage.comments, &name),
        name,
        args,
        secrets: sorted(found.secrets),
        ssh: sorted(found.ssh),
        sources: vec![base64(question.text)],
    };
    Ok(Answer { json: document(&outline), text: text(&outline), warnings: 0, error: None })
}

/// The arguments above the first `FROM`.
fn global_args(asked: &Asked<'_>, question: &Question<'_>) -> Args {
    let Asked { file, globals, .. } = asked;
    let mut args = Args::new();
    for instruction in &file.global_args {
        let Kind::Arg(declared) = &instruction.kind else { continue };
        for arg in declared {
            let given = question.build_args.contains_key(&arg.name);
            let default = arg.value.as_deref().filter(|_| !given).unwrap_or_default();
            let get = |name: &str| globals.get(name).map(String::from);
            let used = Expander::new(file.directives.escape, &get, &globals.budget)
                .word(default)
                .map(|expanded| expanded.used);
            let value = globals.get(&arg.name).unwrap_or_default().to_owned();
            let mut new = item(instruction, &arg.name, value);
            new.uses = used.unwrap_or_default();
            new.uses.remove(&arg.name);
            args.insert(arg.name.clone(), new);
        }
    }
    args
}

fn item(instruction: &Instruction, name: &str, value: String) -> Arg {
    Arg {
        name: name.to_owned(),
        description: description(&instruction.comments, name),
        value,
        location: Location::of(instruction.span),
        line: instruction.span.line,
        uses: BTreeSet::new(),
    }
}

/// A global argument and those that its default is made of.
fn global(args: &mut Args, known: &Args, name: &str) {
    let mut open = vec![name];
    while let Some(name) = open.pop() {
        let Some((name, arg)) = known.get_key_value(name) else { continue };
        if !args.contains_key(name) {
            args.insert(name.clone(), arg.clone());
            open.extend(arg.uses.iter().map(String::as_str));
        }
    }
}

struct Found {
    args: Args,
    secrets: BTreeMap<String, Required>,
    ssh: BTreeMap<String, Required>,
}

impl Found {
    fn stage(
        &mut self,
        question: &Question<'_>,
        known: &Args,
        scopes: &mut Scopes<'_>,
        index: usize,
    ) -> Result<(), Error> {
        let Asked { file, globals, .. } = scopes.asked;
        let stage = &file.stages[index];
        let mut own = Args::new();
        for word in std::iter::once(&stage.from.image).chain(&stage.from.platform) {
            if let Ok(expanded) = scopes.asked.expand(word) {
                expanded.used.iter().for_each(|name| global(&mut own, known, name));
            }
        }
        let mut scope = scopes.above(index)?;
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Env(pairs) => scope.set(pairs),
                Kind::Arg(declared) => {
                    for arg in declared {
                        let given = question.build_args.get(&arg.name);
                        let value = match (given, &arg.value) {
                            (Some(given), _) => given.clone(),
                            (None, Some(default)) => scope.expand(default),
                            (None, None) => {
                                let above = || scope.values.get(&arg.name).map(String::as_str);
                                globals.get(&arg.name).or_else(above).unwrap_or_default().to_owned()
                            }
                        };
                        scope.values.insert(arg.name.clone(), value.clone());
                        if given.is_none() && arg.value.is_none() && globals.get(&arg.name).is_some() {
                            global(&mut own, known, &arg.name);
                        } else {
                            own.insert(arg.name.clone(), item(instruction, &arg.name, value));
                        }
                    }
                }
                Kind::Run(run) => {
                    for flag in &run.mounts {
                        let mount = flag.resolve(|value| Ok::<_, Error>(scope.expand(value)))?;
                        self.mount(&mount, instruction.span);
                    }
                }
                _ => {}
            }
        }
        for (name, arg) in own {
            self.args.entry(name).or_insert(arg);
        }
        Ok(())
    }

    fn mount(&mut self, mount: &Mount, span: Span) {
        let base = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (map, name) = match mount.kind {
            MountKind::Secret => {
                let id = mount.id.clone().or(mount.source.clone()).or(mount.target.as_ref().map(base));
                (&mut self.secrets, id.unwrap_or_default())
            }
            MountKind::Ssh => (&mut self.ssh, mount.id.clone().unwrap_or_else(|| "default".into())),
            _ => return,
        };
        let new = Required {
            name: name.clone(),
            required: mount.required,
            location: Location::of(span),
            line: span.line,
        };
        map.entry(name).or_insert(new);
    }
}

/// What stages leave to those that are based on them.
struct Scopes<'a> {
    asked: &'a Asked<'a>,
    /// Those that were looked at: thousands may be based on one.
    done: BTreeMap<usize, Scope<'a>>,
}

impl<'a> Scopes<'a> {
    /// What a stage begins with.
    fn above(&mut self, index: usize) -> Result<Scope<'a>, Error> {
        let asked = self.asked;
        let (mut line, mut scope) = (Vec::new(), None);
        let mut next = asked.base(index)?;
        while let Some(at) = next {
            scope = self.copy(at)?;
            if scope.is_some() {
                break;
            }
            line.push(at);
            next = asked.base(at)?;
        }
        let mut scope = scope.unwrap_or(Scope { asked, values: BTreeMap::new() });
        for stage in line.into_iter().rev() {
            scope.pass(stage);
            self.done.insert(stage, scope);
            scope = self.copy(stage)?.unwrap_or(Scope { asked, values: BTreeMap::new() });
        }
        Ok(scope)
    }

    /// What is known of a stage, at the file's expense.
    fn copy(&self, index: usize) -> Result<Option<Scope<'a>>, Error> {
        let Some(scope) = self.done.get(&index) else { return Ok(None) };
        let bytes = scope.values.iter().map(|(name, value)| name.len() + value.len() + VARIABLE).sum();
        let drawn = self.asked.globals.budget.draw(bytes);
        drawn.map_err(|e| Error::new(e.to_string(), self.asked.file.stages[index].head))?;
        Ok(Some(scope.clone()))
    }
}

/// What a variable takes besides its text.
const VARIABLE: usize = 64;

/// The variables at a place of a stage.
#[derive(Clone)]
struct Scope<'a> {
    asked: &'a Asked<'a>,
    values: BTreeMap<String, String>,
}

impl Scope<'_> {
    /// Does what a stage does.
    fn pass(&mut self, stage: usize) {
        let Asked { file, globals, .. } = self.asked;
        for instruction in &file.stages[stage].instructions {
            match &instruction.kind {
                Kind::Env(pairs) => self.set(pairs),
                Kind::Arg(args) => {
                    for arg in args {
                        let default = arg.value.as_deref().map(|value| self.expand(value));
                        let value = globals.given.get(&arg.name).cloned().or(default);
                        let value = value.or_else(|| globals.get(&arg.name).map(String::from));
                        self.values.extend(value.map(|value| (arg.name.clone(), value)));
                    }
                }
                _ => {}
            }
        }
    }

    /// What an `ENV` does, pair by pair: each sees those before it.
    fn set(&mut self, pairs: &[KeyValue]) {
        for pair in pairs {
            let value = self.expand(&pair.value);
            self.values.insert(pair.key.clone(), value);
        }
    }

    /// What cannot be expanded stays as it is.
    fn expand(&self, text: &str) -> String {
        let Asked { file, globals, .. } = self.asked;
        let get = |name: &str| self.values.get(name).cloned();
        let expanded = Expander::new(file.directives.escape, &get, &globals.budget).word(text);
        expanded.map_or_else(|_| text.to_owned(), |expanded| expanded.text)
    }
}

fn text(outline: &Outline) -> String {
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut out = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let mut rows = vec![row(&["TARGET:", name])];
        if !outline.description.is_empty() {
            rows.push(row(&["DESCRIPTION:", &outline.description]));
        }
        out.push_str(&columns(&rows, 1));
        out.push('\n');
    }
    if !outline.args.is_empty() {
        let mut rows = vec![row(&["BUILD ARG", "VALUE", "DESCRIPTION"])];
        rows.extend(outline.args.iter().map(|arg| row(&[&arg.name, &arg.value, &arg.description])));
        out.push_str(&columns(&rows, 3));
        out.push('\n');
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !list.is_empty() {
            let mut rows = vec![row(&[title, "REQUIRED"])];
            rows.extend(list.iter().map(|item| row(&[&item.name, if item.required { "true" } else { "" }])));
            out.push_str(&columns(&rows, 3));
            out.push('\n');
        }
    }
    out
}
