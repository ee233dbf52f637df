//! Files of definitions together: variables, functions and attributes, and the blocks that are targets and groups.
//!
//! What refers to each other may stand in any order, in any of the files; a later file's word is the last.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::language::{
    Attribute, Block, Body, Code, Diagnostics, JsonKind, Locals, Names, Place, Scope, Source, Unresolved,
    UserFunction, position, references,
};
use crate::shape;
use crate::value::{Type, Value, convert};
use crate::variable::{Listed, Override, Variable};

/// What surrounds the files.
pub struct Surroundings<'e> {
    /// Variables of the command line, and of the environment.
    pub lookup: &'e dyn Fn(&str) -> Option<String>,
    /// Variables that are always there.
    pub builtin: BTreeMap<String, String>,
    pub home: String,
    /// The files, as places count them.
    pub sources: &'e [Source],
}

/// A function as a file declares it.
struct Declared {
    parameters: Option<Attribute>,
    rest: Option<Attribute>,
    result: Option<Attribute>,
    place: Place,
}

/// Functions that call each other: a deeper one is a file that wants to fail.
const NESTED: usize = 100;
/// Calls of functions of the files while these are read.
const CALLS: u32 = 1_000_000;

/// A block with a name of its own: a target with a matrix is several.
pub struct Instance<'d> {
    pub name: String,
    pub block: &'d Block,
    locals: BTreeMap<String, Value>,
}

/// A block under a name: its index, and what its matrix chooses.
#[derive(Clone)]
struct Named {
    name: String,
    block: usize,
    locals: BTreeMap<String, Value>,
}

/// A field with its value, as its block says it.
pub type Field<'d> = (&'d Attribute, Result<Value, Diagnostics>);

/// Everything that files say.
#[derive(Default)]
pub struct Definitions {
    attributes: BTreeMap<String, Attribute>,
    variables: BTreeMap<String, Variable>,
    functions: BTreeMap<String, Declared>,
    /// Targets and groups, in order.
    blocks: Vec<Block>,
}

const KINDS: &[&str] = &["target", "group"];

impl Definitions {
    /// Adds a file.
    pub fn add(&mut self, body: Body, builtin: &BTreeMap<String, String>) -> Result<(), Diagnostics> {
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        for attribute in &body.attributes {
            if seen.insert(&attribute.name, attribute.name_place).is_some() {
                let detail = format!("The argument {:?} was already set.", attribute.name);
                let detail = format!("{detail} Each argument may be set only once.");
                return Err(Diagnostics::one(attribute.name_place, "Attribute redefined", detail));
            }
        }
        for attribute in body.attributes {
            if !builtin.contains_key(&attribute.name) && !KINDS.contains(&attribute.name.as_str()) {
                self.attributes.insert(attribute.name.clone(), attribute);
            }
        }
        for block in body.blocks {
            match block.kind.as_str() {
                "variable" => {
                    let name = label(&block)?;
                    let variable = Variable::read(name, &block)?;
                    if !builtin.contains_key(name) {
                        self.variables.insert(name.to_owned(), variable);
                    }
                }
                "function" => {
                    let (name, declared) = function(&block)?;
                    self.functions.insert(name, declared);
                }
                "target" | "group" => {
                    label(&block)?;
                    self.blocks.push(block);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn label(block: &Block) -> Result<&str, Diagnostics> {
    let kind = &block.kind;
    match block.labels.as_slice() {
        [label] => Ok(&label.text),
        [] => Err(Diagnostics::one(
            block.place,
            format!("Missing name for {kind}"),
            format!("All {kind} blocks must have 1 labels (name)."),
        )),
        [_, extra, ..] => Err(Diagnostics::one(
            extra.place,
            format!("Extraneous label for {kind}"),
            format!("Only 1 labels (name) are expected for {kind} blocks."),
        )),
    }
}

fn function(block: &Block) -> Result<(String, Declared), Diagnostics> {
    let name = label(block)?;
    let known = ["params", "variadic_params", "result"];
    if let Some(other) = block.body.attributes.iter().find(|a| !known.contains(&a.name.as_str())) {
        let detail = format!("An argument named {:?} is not expected here.", other.name);
        return Err(Diagnostics::one(other.name_place, "Unsupported argument", detail));
    }
    let attribute = |name: &str| block.body.attribute(name).cloned();
    let (parameters, rest, result) = (attribute("params"), attribute("variadic_params"), attribute("result"));
    let label = block.labels.first().map_or(block.place, |label| label.place);
    let place = parameters.as_ref().map_or(label, |parameters| parameters.place);
    Ok((name.to_owned(), Declared { parameters, rest, result, place }))
}

/// Definitions whose names get their values as they are asked for.
pub struct Resolver<'d> {
    definitions: &'d Definitions,
    surroundings: &'d Surroundings<'d>,
    functions: BTreeMap<String, UserFunction>,
    values: RefCell<BTreeMap<String, Value>>,
    /// Types that variables declare.
    kinds: RefCell<BTreeMap<String, Type>>,
    /// What is being evaluated.
    open: RefCell<BTreeSet<String>>,
    instances: RefCell<Vec<Named>>,
    /// Calls of functions so far.
    calls: Cell<u32>,
}

impl<'d> Resolver<'d> {
    /// Evaluates variables, and looks at functions, validations and the names of blocks.
    pub fn new(
        definitions: &'d Definitions,
        surroundings: &'d Surroundings<'d>,
    ) -> Result<Resolver<'d>, Diagnostics> {
        let mut resolver = Resolver {
            definitions,
            surroundings,
            functions: BTreeMap::new(),
            values: RefCell::default(),
            kinds: RefCell::default(),
            open: RefCell::default(),
            instances: RefCell::default(),
            calls: Cell::default(),
        };
        for (name, declared) in &definitions.functions {
            resolver.functions.insert(name.clone(), usable(name, declared)?);
        }
        for (name, variable) in &definitions.variables {
            resolver.variable(name).map_err(|error| told(error, variable.place, "Invalid value"))?;
        }
        resolver.validate()?;
        let (mut open, mut checked) = (Vec::new(), BTreeSet::new());
        for (name, declared) in &definitions.functions {
            resolver.check(name, &mut open, &mut checked, declared.place)?;
        }
        let mut instances = Vec::new();
        for (at, block) in definitions.blocks.iter().enumerate() {
            instances.extend(resolver.named(at, block)?);
        }
        *resolver.instances.borrow_mut() = instances;
        Ok(resolver)
    }

    /// Variables with their values, by name.
    pub fn listed(&self) -> Vec<Listed> {
        let values = self.values.borrow();
        let kinds = self.kinds.borrow();
        let one = |(name, variable): (&String, &Variable)| {
            variable.listed(values.get(name).unwrap_or(&Value::NULL), kinds.get(name))
        };
        self.definitions.variables.iter().map(one).collect()
    }

    /// Targets and groups under the names that they have, in order; first all of one block.
    pub fn blocks(&self) -> Vec<Instance<'d>> {
        let instances = self.instances.borrow();
        let one = |known: &Named| Instance {
            name: known.name.clone(),
            block: &self.definitions.blocks[known.block],
            locals: known.locals.clone(),
        };
        instances.iter().map(one).collect()
    }

    /// The fields of a block.
    pub fn fields(&self, instance: &Instance<'d>) -> Vec<Field<'d>> {
        let locals = Locals { values: instance.locals.clone(), parent: None };
        let value = |attribute: &Attribute| Scope::evaluate(self, Some(&locals), &attribute.code);
        let matrix = |attribute: &&Attribute| !matches!(attribute.name.as_str(), "matrix" | "name");
        let attributes = instance.block.body.attributes.iter().filter(matrix);
        attributes.map(|attribute| (attribute, value(attribute))).collect()
    }

    /// Evaluates the attributes that nothing referred to: they may be wrong too.
    pub fn finish(&self) -> Result<(), Diagnostics> {
        for (name, attribute) in &self.definitions.attributes {
            self.variable(name).map_err(|error| told(error, attribute.place, "Invalid attribute"))?;
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), Diagnostics> {
        let mut wrong = Diagnostics::default();
        let invalid = "Invalid condition result";
        for validation in self.definitions.variables.values().flat_map(|variable| &variable.validations) {
            let place = validation.condition.place();
            let condition = match Scope::evaluate(self, None, &validation.condition) {
                Ok(Value::Null(_)) => {
                    let detail = "Condition expression must return either true or false, not null.";
                    wrong = wrong.and(Diagnostics::one(place, invalid, detail));
                    continue;
                }
                Ok(value) => value,
                Err(diagnostics) => {
                    wrong = wrong.and(diagnostics);
                    continue;
                }
            };
            match convert(&condition, &Type::Bool) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => {
                    let message = Scope::evaluate(self, None, &validation.message);
                    wrong = wrong.and(match message {
                        Err(diagnostics) => diagnostics,
                        Ok(Value::String(text)) => Diagnostics::one(place, "Validation failed", text),
                        Ok(_) => Diagnostics::one(
                            place,
                            "Validation failed",
                            "This check failed, but has an invalid error message.",
                        ),
                    });
                }
                Err(why) => {
                    let detail = format!("Invalid condition result value: {why}");
                    wrong = wrong.and(Diagnostics::one(place, invalid, detail));
                }
            }
        }
        if wrong.0.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Looks whether what a function refers to is there, and does not lead back to it.
    /// Each is looked at once: two calls of one that has two calls itself would soon be more than anybody waits for.
    fn check<'n>(
        &'n self,
        name: &str,
        open: &mut Vec<&'n str>,
        checked: &mut BTreeSet<&'n str>,
        from: Place,
    ) -> Result<(), Diagnostics> {
        let wrong = |why: String| Err(Diagnostics::one(from, "Invalid expression", why));
        let Some((name, function)) = self.functions.get_key_value(name) else {
            return wrong(format!("function {name:?} does not exist: undefined"));
        };
        if open.contains(&name.as_str()) {
            return wrong(format!("function cycle not allowed for {name}"));
        }
        if checked.contains(name.as_str()) {
            return Ok(());
        }
        if open.len() == NESTED {
            return wrong(format!("functions call each other more than {NESTED} deep"));
        }
        open.push(name);
        let place = function.result.place();
        let refers = references(&function.result);
        for other in &refers.functions {
            if crate::functions::names().all(|known| known != other) {
                self.check(other, open, checked, place)?;
            }
        }
        for (variable, _) in &refers.variables {
            let own = function.parameters.contains(variable) || function.rest.as_ref() == Some(variable);
            if own || KINDS.contains(&variable.as_str()) {
                continue;
            }
            let found = self.variable(variable).map_err(|e| told(e, place, "Invalid expression"))?;
            if found.is_none() {
                let why = format!("variable {variable:?} does not exist: undefined");
                return Err(Diagnostics::one(place, "Invalid expression", why));
            }
        }
        open.pop();
        checked.insert(name);
        Ok(())
    }

    /// The names that a block has, with what its matrix chooses for each.
    fn named(&self, at: usize, block: &Block) -> Result<Vec<Named>, Diagnostics> {
        let own = &block.labels[0];
        let wrong = |why: String| Diagnostics::one(own.place, "Invalid name", why);
        valid_name(&own.text).map_err(wrong)?;
        let (matrix, name) = (block.body.attribute("matrix"), block.body.attribute("name"));
        if block.kind == "group" {
            return match (name, matrix) {
                (Some(_), _) => Err(wrong("name is not supported for groups".to_owned())),
                (_, Some(_)) => Err(wrong("matrix is not supported for groups".to_owned())),
                _ => Ok(vec![Named { name: own.text.clone(), block: at, locals: BTreeMap::new() }]),
            };
        }
        let choices = match matrix {
            None => vec![BTreeMap::new()],
            Some(matrix) => combinations(&Scope::evaluate(self, None, &matrix.code)?).map_err(wrong)?,
        };
        let mut all: Vec<Named> = Vec::new();
        for locals in choices {
            let name = match name {
                None => own.text.clone(),
                Some(_) if matrix.is_none() => return Err(wrong("name requires matrix".to_owned())),
                Some(name) => {
                    let locals = Locals { values: locals.clone(), parent: None };
                    let value = Scope::evaluate(self, Some(&locals), &name.code)?;
                    match convert(&value, &Type::String).map_err(wrong)? {
                        Value::String(text) => text,
                        _ => return Err(wrong("name is null".to_owned())),
                    }
                }
            };
            valid_name(&name).map_err(wrong)?;
            if all.iter().any(|known| known.name == name) {
                return Err(wrong(format!("duplicate name {name:?}")));
            }
            all.push(Named { name, block: at, locals });
        }
        Ok(all)
    }

    /// Marks a name as being evaluated.
    fn enter<T>(
        &self,
        key: &str,
        cycle: impl FnOnce() -> String,
        evaluate: impl FnOnce() -> Result<T, Unresolved>,
    ) -> Result<T, Unresolved> {
        if !self.open.borrow_mut().insert(key.to_owned()) {
            return Err(Unresolved::Message(cycle()));
        }
        let result = evaluate();
        self.open.borrow_mut().remove(key);
        result
    }

    fn evaluate(&self, name: &str) -> Result<Value, Unresolved> {
        if let Some(attribute) = self.definitions.attributes.get(name) {
            return Scope::evaluate(self, None, &attribute.code).map_err(Unresolved::Diagnostics);
        }
        let Some(variable) = self.definitions.variables.get(name) else { return Ok(Value::NULL) };
        let kind = variable.kind().map_err(Unresolved::Diagnostics)?;
        if let Some(kind) = &kind {
            self.kinds.borrow_mut().insert(name.to_owned(), kind.clone());
        }
        let default = variable.default.as_ref().map(|default| Scope::evaluate(self, None, &default.code));
        let default = default.transpose().map_err(Unresolved::Diagnostics)?;
        let given = self.given(name, kind.is_some());
        variable.value(default, kind.as_ref(), given.as_ref()).map_err(Unresolved::Message)
    }

    /// What the environment says: `NAME`, or `NAME_JSON` if that is no variable itself.
    fn given(&self, name: &str, prefer_json: bool) -> Option<Override> {
        let plain = (self.surroundings.lookup)(name).map(|text| Override { text, json: false });
        if plain.is_some() && !prefer_json {
            return plain;
        }
        let other = format!("{name}_JSON");
        let taken =
            self.definitions.variables.contains_key(&other) || self.surroundings.builtin.contains_key(&other);
        let json = (self.surroundings.lookup)(&other).filter(|_| !taken);
        json.map(|text| Override { text, json: true }).or(plain)
    }

    /// The part of a block that is referred to, as an object of its name.
    fn block(&self, kind: &str, path: &[String]) -> Result<Value, Unresolved> {
        let name = &path[0];
        let mut members = BTreeMap::new();
        let known: Vec<Instance<'d>> =
            self.blocks().into_iter().filter(|i| i.block.kind == kind && i.name == *name).collect();
        if known.is_empty() {
            return Ok(Value::Map(Type::String, BTreeMap::new()));
        }
        for field in shape::fields(kind).filter(|field| path.get(1).is_none_or(|one| one == field.name)) {
            members.insert(field.name.to_owned(), Value::Null(field.shape.kind()));
        }
        for instance in &known {
            let locals = Locals { values: instance.locals.clone(), parent: None };
            for attribute in &instance.block.body.attributes {
                let wanted = path.get(1).is_none_or(|one| *one == attribute.name);
                let Some(field) = shape::find(kind, &attribute.name).filter(|_| wanted) else { continue };
                let key = format!("{kind}.{name}.{}", attribute.name);
                let cycle = || format!("reference cycle not allowed for {key}");
                let value = self.enter(&key, cycle, || {
                    Scope::evaluate(self, Some(&locals), &attribute.code).map_err(Unresolved::Diagnostics)
                })?;
                let value = convert(&value, &field.shape.kind()).unwrap_or(value);
                members.insert(attribute.name.clone(), value);
            }
        }
        if path.get(1).is_none_or(|one| one == "name") {
            members.insert("name".to_owned(), name.as_str().into());
        }
        Ok(Value::Object(BTreeMap::from([(name.clone(), Value::Object(members))])))
    }
}

fn told(error: Unresolved, place: Place, summary: &str) -> Diagnostics {
    match error {
        Unresolved::Message(why) => Diagnostics::one(place, summary, why),
        Unresolved::Diagnostics(diagnostics) => diagnostics,
    }
}

impl Names for Resolver<'_> {
    fn variable(&self, name: &str) -> Result<Option<Value>, Unresolved> {
        if let Some(text) = self.surroundings.builtin.get(name) {
            return Ok(Some(text.as_str().into()));
        }
        if let Some(value) = self.values.borrow().get(name) {
            return Ok(Some(value.clone()));
        }
        if KINDS.contains(&name) {
            return Err(Unresolved::Message(format!("cannot access {name} as a variable")));
        }
        if !self.definitions.attributes.contains_key(name) && !self.definitions.variables.contains_key(name) {
            return Ok(None);
        }
        let cycle = || format!("variable cycle not allowed for {name}");
        let value = self.enter(name, cycle, || self.evaluate(name))?;
        self.values.borrow_mut().insert(name.to_owned(), value.clone());
        Ok(Some(value))
    }

    fn part(&self, name: &str, path: &[String]) -> Result<Option<Value>, Unresolved> {
        match KINDS.contains(&name) {
            false => self.variable(name),
            true if path.is_empty() => {
                Err(Unresolved::Message(format!("cannot traverse {name} without attribute")))
            }
            true => self.block(name, path).map(Some),
        }
    }

    fn function(&self, name: &str) -> Result<Option<&UserFunction>, Unresolved> {
        let found = self.functions.get(name);
        self.calls.set(self.calls.get() + u32::from(found.is_some()));
        match self.calls.get() > CALLS {
            true => Err(Unresolved::Message(format!("functions are called more than {CALLS} times"))),
            false => Ok(found),
        }
    }

    fn variables(&self) -> Vec<String> {
        let all = self.definitions.attributes.keys().chain(self.definitions.variables.keys());
        all.chain(self.surroundings.builtin.keys()).cloned().collect()
    }

    fn functions(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }

    fn home(&self) -> &str {
        &self.surroundings.home
    }

    fn position(&self, place: &Place) -> String {
        position(place, self.surroundings.sources)
    }
}

/// A function whose parameters are names.
fn usable(name: &str, declared: &Declared) -> Result<UserFunction, Diagnostics> {
    let lacks = |what: &str| {
        let why = format!("empty {what} not allowed for {name}");
        Diagnostics::one(declared.place, "Invalid function", why)
    };
    let result = declared.result.as_ref().ok_or_else(|| lacks("result"))?;
    let given = declared.parameters.as_ref().ok_or_else(|| lacks("params"))?;
    let element = |place: Place| {
        Diagnostics::one(place, "Invalid param element", "Each parameter name must be an identifier.")
    };
    let not_list = || {
        let detail = "A static list expression is required.";
        Diagnostics::one(given.code.place(), "Invalid expression", detail)
    };
    let parameters = match &given.code {
        Code::Native(_, expression) => match expression.as_array() {
            Some(items) => items.iter().map(word).collect::<Option<Vec<_>>>(),
            None => return Err(not_list()),
        },
        Code::Json(json) => match &json.kind {
            JsonKind::Array(items) => items.iter().map(json_word).collect::<Option<Vec<_>>>(),
            _ => return Err(not_list()),
        },
    };
    let parameters = parameters.ok_or_else(|| element(given.code.place()))?;
    let rest = match declared.rest.as_ref().map(|rest| &rest.code) {
        None => None,
        Some(Code::Native(file, expression)) => match word(expression) {
            Some(name) => Some(name),
            None => return Err(element(Code::Native(*file, expression.clone()).place())),
        },
        Some(Code::Json(json)) => Some(json_word(json).ok_or_else(|| element(json.place))?),
    };
    Ok(UserFunction { parameters, rest, result: result.code.clone() })
}

fn word(expression: &hcl_edit::expr::Expression) -> Option<String> {
    expression.as_variable().map(|name| name.as_str().to_owned())
}

fn json_word(json: &crate::language::Json) -> Option<String> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    match &json.kind {
        JsonKind::String(text, _) if !text.is_empty() && text.chars().all(fits) => Some(text.clone()),
        _ => None,
    }
}

/// Letters, digits, dashes and underscores.
pub fn valid_name(name: &str) -> Result<(), String> {
    match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        true => Ok(()),
        false => Err("only \"[a-zA-Z0-9_-]+\" are allowed".to_owned()),
    }
}

/// Targets that a matrix gives at most.
const MATRIX: usize = 10_000;

/// Every combination of a matrix.
fn combinations(matrix: &Value) -> Result<Vec<BTreeMap<String, Value>>, String> {
    let axes = matrix.members().ok_or("matrix must be a map")?;
    let mut all = vec![BTreeMap::new()];
    for (axis, choices) in axes {
        let choices: Vec<Value> = match (choices.items(), choices.members()) {
            (Some(items), _) => items.to_vec(),
            (_, Some(members)) => members.values().cloned().collect(),
            _ => return Err("matrix values must be a list".to_owned()),
        };
        if all.len() * choices.len() > MATRIX {
            return Err(format!("the matrix has more than {MATRIX} combinations"));
        }
        let with = |choice: &Value| {
            let one = |before: &BTreeMap<String, Value>| {
                let mut next = before.clone();
                next.insert(axis.clone(), choice.clone());
                next
            };
            all.iter().map(one).collect::<Vec<_>>()
        };
        all = choices.iter().flat_map(with).collect();
    }
    Ok(all)
}
