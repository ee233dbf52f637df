//! What expressions say.
//!
//! Where several parts of an expression are wrong, all of them are told, as HCL does.

use std::collections::BTreeMap;
use std::ops::Range;

use hcl_edit::Span;
use hcl_edit::expr::{Array, Conditional, Expression, ForExpr, Object, ObjectKey};
use hcl_edit::template::Template;

use super::diagnostic::{Diagnostics, Place};
use super::json::{Json, Kind};
use super::syntax::Code;
use crate::value::{Type, Value, convert, parse, unify};

/// What an expression may refer to besides the names that it introduces itself.
pub trait Names {
    /// The value of a variable; `None` if there is none of that name.
    fn variable(&self, name: &str) -> Result<Option<Value>, Unresolved>;
    /// The same for a part of it that is named: `name.path[0].path[1]`.
    /// Only what is needed for that part has to be evaluated.
    fn part(&self, name: &str, path: &[String]) -> Result<Option<Value>, Unresolved>;
    fn function(&self, name: &str) -> Result<Option<&UserFunction>, Unresolved>;
    /// All names of variables, for suggestions.
    fn variables(&self) -> Vec<String>;
    fn functions(&self) -> Vec<String>;
    /// The user's home directory.
    fn home(&self) -> &str;
    /// A place, as text.
    fn position(&self, place: &Place) -> String;
}

/// Why a name has no value.
#[derive(Debug, Clone)]
pub enum Unresolved {
    /// It is the reference that is wrong.
    Message(String),
    /// It is what it refers to.
    Diagnostics(Diagnostics),
}

/// A function of a file.
pub struct UserFunction {
    pub parameters: Vec<String>,
    pub rest: Option<String>,
    pub result: Code,
}

/// Names that an expression introduces, inside of each other.
pub struct Locals<'s> {
    pub values: BTreeMap<String, Value>,
    pub parent: Option<&'s Locals<'s>>,
}

impl Locals<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).or_else(|| self.parent?.get(name))
    }
}

/// Where an expression stands, and what its names mean there.
#[derive(Clone, Copy)]
pub struct Scope<'s> {
    pub names: &'s dyn Names,
    pub locals: Option<&'s Locals<'s>>,
    /// The file, and where in it the text begins to which spans refer.
    file: usize,
    base: usize,
    /// The whole expression.
    whole: Place,
}

/// A value, or what is wrong.
pub type Outcome = Result<Value, Diagnostics>;

impl<'s> Scope<'s> {
    /// Evaluates an attribute's expression.
    pub fn evaluate(names: &'s dyn Names, locals: Option<&'s Locals<'s>>, code: &Code) -> Outcome {
        let whole = code.place();
        let scope = Scope { names, locals, file: whole.file, base: 0, whole };
        match code {
            Code::Native(_, expression) => scope.value(expression),
            Code::Json(json) => scope.json(json),
        }
    }

    pub(super) fn place(&self, spanned: &impl Span) -> Place {
        match spanned.span() {
            Some(span) => Place { file: self.file, start: self.base + span.start, end: self.base + span.end },
            None => self.whole,
        }
    }

    /// Where an expression begins: HCL tells of many things that are wrong only there.
    pub(super) fn start(&self, expression: &Expression) -> Place {
        start(expression, &|spanned| match spanned {
            Some(span) => Place { file: self.file, start: self.base + span.start, end: self.base + span.end },
            None => self.whole,
        })
    }

    pub(super) fn wrong<T>(
        &self,
        place: Place,
        summary: &str,
        detail: impl Into<String>,
    ) -> Result<T, Diagnostics> {
        Err(Diagnostics::one(place, summary, detail))
    }

    /// What could not be resolved is told of the whole expression.
    pub(super) fn resolved<T>(&self, found: Result<T, Unresolved>) -> Result<T, Diagnostics> {
        found.map_err(|error| match error {
            Unresolved::Message(why) => Diagnostics::one(self.whole, "Invalid expression", why),
            Unresolved::Diagnostics(diagnostics) => diagnostics,
        })
    }

    pub(super) fn inner<'i>(self, locals: &'i Locals<'i>) -> Scope<'i>
    where
        's: 'i,
    {
        Scope { names: self.names, locals: Some(locals), file: self.file, base: self.base, whole: self.whole }
    }

    pub fn value(&self, expression: &Expression) -> Outcome {
        match expression {
            Expression::Null(_) => Ok(Value::NULL),
            Expression::Bool(truth) => Ok((*truth.value()).into()),
            Expression::Number(number) => {
                let text =
                    number.as_repr().map_or_else(|| number.value().to_string(), |repr| repr.to_string());
                match parse(&text) {
                    Some(number) => Ok(number.into()),
                    None => self.wrong(
                        self.place(expression),
                        "Invalid number literal",
                        "Failed to recognize the value of this number literal.",
                    ),
                }
            }
            Expression::String(text) => Ok(text.value().as_str().into()),
            Expression::Array(items) => self.array(items),
            Expression::Object(object) => self.object(object),
            Expression::StringTemplate(template) => self.template(template, false),
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template, true),
            Expression::Parenthesis(inner) => self.value(inner.inner()),
            Expression::Variable(name) => self.variable(name.as_str(), self.place(name)),
            Expression::Conditional(choice) => self.conditional(choice),
            Expression::FuncCall(call) => self.call(call),
            Expression::Traversal(traversal) => self.traversal(traversal),
            Expression::UnaryOp(operation) => self.unary(operation, self.place(expression)),
            Expression::BinaryOp(operation) => self.binary(operation, self.place(expression)),
            Expression::ForExpr(each) => self.each(each),
        }
    }

    /// The value of a name that an expression introduced.
    pub(super) fn local(&self, name: &str) -> Option<Value> {
        self.locals?.get(name).cloned()
    }

    pub(super) fn variable(&self, name: &str, place: Place) -> Outcome {
        if let Some(value) = self.local(name) {
            return Ok(value);
        }
        match self.resolved(self.names.variable(name))? {
            Some(value) => Ok(value),
            None => self.unknown(name, place),
        }
    }

    pub(super) fn unknown(&self, name: &str, place: Place) -> Outcome {
        let known = self.names.variables();
        let hint = suggestion(name, known.iter().map(String::as_str));
        let hint = hint.map(|name| format!(" Did you mean {name:?}?")).unwrap_or_default();
        self.wrong(place, "Unknown variable", format!("There is no variable named {name:?}.{hint}"))
    }

    fn array(&self, items: &Array) -> Outcome {
        self.all(items.iter().map(|item| self.value(item))).map(Value::Tuple)
    }

    /// All values, or all that is wrong with them.
    pub(super) fn all(&self, outcomes: impl Iterator<Item = Outcome>) -> Result<Vec<Value>, Diagnostics> {
        let (mut values, mut wrong) = (Vec::new(), Diagnostics::default());
        for outcome in outcomes {
            match outcome {
                Ok(value) => values.push(value),
                Err(diagnostics) => wrong = wrong.and(diagnostics),
            }
        }
        if wrong.0.is_empty() { Ok(values) } else { Err(wrong) }
    }

    fn object(&self, object: &Object) -> Outcome {
        let (mut members, mut wrong) = (BTreeMap::new(), Diagnostics::default());
        for (key, value) in object.iter() {
            match (self.key(key), self.value(value.expr())) {
                (Ok(key), Ok(value)) => {
                    members.insert(key, value);
                }
                (key, value) => {
                    wrong = [key.err(), value.err()].into_iter().flatten().fold(wrong, Diagnostics::and);
                }
            }
        }
        if wrong.0.is_empty() { Ok(Value::Object(members)) } else { Err(wrong) }
    }

    fn key(&self, key: &ObjectKey) -> Result<String, Diagnostics> {
        let expression = match key {
            ObjectKey::Ident(name) => return Ok(name.as_str().to_owned()),
            // A name alone is text, and in parentheses a variable.
            ObjectKey::Expression(Expression::Variable(name)) => return Ok(name.as_str().to_owned()),
            ObjectKey::Expression(expression) => expression,
        };
        let place = self.place(expression);
        match self.value(expression)? {
            Value::Null(_) => self.wrong(place, "Null value as key", "Can't use a null value as a key."),
            value => match convert(&value, &Type::String) {
                Ok(Value::String(text)) => Ok(text),
                Ok(_) => self.wrong(place, "Null value as key", "Can't use a null value as a key."),
                Err(why) => {
                    self.wrong(place, "Incorrect key type", format!("Can't use this value as a key: {why}."))
                }
            },
        }
    }

    /// Both results get the type that both can have; only the one that is chosen may be wrong otherwise.
    fn conditional(&self, choice: &Conditional) -> Outcome {
        let (yes, no) = (self.value(&choice.true_expr), self.value(&choice.false_expr));
        let want = match (&yes, &no) {
            (Ok(yes), Ok(no)) if *yes == Value::NULL => no.kind(),
            (Ok(yes), Ok(no)) if *no == Value::NULL => yes.kind(),
            (Ok(yes), Ok(no)) => {
                let (one, other) = (yes.kind(), no.kind());
                let Some(want) = unify(&[one.clone(), other.clone()]) else {
                    let place = self.place(&choice.true_expr).to(self.place(&choice.false_expr));
                    let why = super::operators::unlike(&one, &other);
                    let detail =
                        format!("The true and false result expressions must have consistent types. {why}.");
                    return self.wrong(place, "Inconsistent conditional result types", detail);
                };
                want
            }
            _ => Type::Any,
        };
        let place = self.place(&choice.cond_expr);
        let condition = match self.value(&choice.cond_expr)? {
            Value::Null(_) => {
                let detail = "The condition value is null. Conditions must either be true or false.";
                return self.wrong(place, "Null condition", detail);
            }
            value => match convert(&value, &Type::Bool) {
                Ok(truth) => truth == Value::Bool(true),
                Err(_) => {
                    let detail = "The condition expression must be of type bool.";
                    return self.wrong(place, "Incorrect condition type", detail);
                }
            },
        };
        let (chosen, expression, word) = match condition {
            true => (yes?, &choice.true_expr, "true"),
            false => (no?, &choice.false_expr, "false"),
        };
        convert(&chosen, &want).or_else(|why| {
            let detail = format!("The {word} result value has the wrong type: {why}.");
            self.wrong(self.place(expression), "Inconsistent conditional result types", detail)
        })
    }

    /// Keys and values of what a `for` goes through.
    pub(super) fn pairs(&self, collection: &Expression) -> Result<Vec<(Value, Value)>, Diagnostics> {
        let place = self.place(collection);
        let value = self.value(collection)?;
        match &value {
            Value::Null(_) => self.wrong(
                place,
                "Iteration over null value",
                "A null value cannot be used as the collection in a 'for' expression.",
            ),
            Value::Set(_, items) => Ok(items.iter().map(|item| (item.clone(), item.clone())).collect()),
            Value::List(_, items) | Value::Tuple(items) => {
                Ok(items.iter().enumerate().map(|(at, item)| (at.into(), item.clone())).collect())
            }
            Value::Map(_, members) | Value::Object(members) => {
                Ok(members.iter().map(|(name, value)| (name.clone().into(), value.clone())).collect())
            }
            other => {
                let detail = format!(
                    "A value of type {} cannot be used as the collection in a 'for' expression.",
                    other.kind().name()
                );
                self.wrong(place, "Iteration over non-iterable value", detail)
            }
        }
    }

    fn each(&self, each: &ForExpr) -> Outcome {
        let (mut items, mut members) = (Vec::new(), BTreeMap::<String, Vec<Value>>::new());
        for (key, value) in self.pairs(&each.intro.collection_expr)? {
            let mut values = BTreeMap::from([(each.intro.value_var.as_str().to_owned(), value)]);
            if let Some(name) = &each.intro.key_var {
                values.insert(name.as_str().to_owned(), key);
            }
            let locals = Locals { values, parent: self.locals };
            let scope = self.inner(&locals);
            if let Some(condition) = &each.cond
                && !scope.kept(&condition.expr)?
            {
                continue;
            }
            let Some(key) = &each.key_expr else {
                items.push(scope.value(&each.value_expr)?);
                continue;
            };
            let name = scope.member_name(key)?;
            let found = members.entry(name.clone()).or_default();
            found.push(scope.value(&each.value_expr)?);
            if found.len() > 1 && !each.grouping {
                let detail = format!(
                    "Two different items produced the key {name:?} in this 'for' expression. If duplicates are \
                     expected, use the ellipsis (...) after the value expression to enable grouping by key."
                );
                return self.wrong(self.place(key), "Duplicate object key", detail);
            }
        }
        Ok(match (&each.key_expr, each.grouping) {
            (None, _) => Value::Tuple(items),
            (Some(_), true) => {
                Value::Object(members.into_iter().map(|(name, all)| (name, Value::Tuple(all))).collect())
            }
            (Some(_), false) => {
                let first = |all: Vec<Value>| all.into_iter().next().unwrap_or(Value::NULL);
                Value::Object(members.into_iter().map(|(name, all)| (name, first(all))).collect())
            }
        })
    }

    /// Whether a `for`'s condition keeps an item.
    fn kept(&self, condition: &Expression) -> Result<bool, Diagnostics> {
        let (place, summary) = (self.place(condition), "Invalid 'for' condition");
        match self.value(condition)? {
            Value::Null(_) => self.wrong(place, summary, "The value of the 'if' clause must not be null."),
            value => match convert(&value, &Type::Bool) {
                Ok(truth) => Ok(truth == Value::Bool(true)),
                Err(why) => self.wrong(place, summary, format!("The 'if' clause value is invalid: {why}.")),
            },
        }
    }

    fn member_name(&self, key: &Expression) -> Result<String, Diagnostics> {
        let (place, summary) = (self.place(key), "Invalid object key");
        match self.value(key)? {
            Value::Null(_) => self.wrong(
                place,
                summary,
                "Key expression in 'for' expression must not produce a null value.",
            ),
            value => match convert(&value, &Type::String) {
                Ok(Value::String(name)) => Ok(name),
                Ok(_) => self.wrong(place, summary, "The key expression produced an invalid result."),
                Err(why) => self.wrong(
                    place,
                    summary,
                    format!("The key expression produced an invalid result: {why}."),
                ),
            },
        }
    }

    /// A value of a document: its strings, and the names in it, are templates.
    pub fn json(&self, json: &Json) -> Outcome {
        match &json.kind {
            Kind::Null => Ok(Value::NULL),
            Kind::Bool(truth) => Ok((*truth).into()),
            Kind::Number(digits) => Ok(parse(digits).map_or(Value::NULL, Value::Number)),
            Kind::String(text, at) => self.text(text, *at, json.place),
            Kind::Array(items) => self.all(items.iter().map(|item| self.json(item))).map(Value::Tuple),
            Kind::Object(members) => {
                let mut all = BTreeMap::new();
                let mut wrong = Diagnostics::default();
                for (label, value) in members {
                    let name = self.text(&label.text, label.place.start + 1, label.place);
                    let name = name.and_then(|name| match convert(&name, &Type::String) {
                        Ok(Value::String(name)) => Ok(name),
                        Ok(_) => self.wrong(
                            label.place,
                            "Invalid object key expression",
                            "Cannot use null value as an object key.",
                        ),
                        Err(why) => self.wrong(
                            label.place,
                            "Invalid object key expression",
                            format!("Cannot use this expression as an object key: {why}."),
                        ),
                    });
                    match (name, self.json(value)) {
                        (Ok(name), Ok(value)) => {
                            all.insert(name, value);
                        }
                        (name, value) => {
                            wrong =
                                [name.err(), value.err()].into_iter().flatten().fold(wrong, Diagnostics::and);
                        }
                    }
                }
                if wrong.0.is_empty() { Ok(Value::Object(all)) } else { Err(wrong) }
            }
        }
    }

    fn text(&self, text: &str, at: usize, place: Place) -> Outcome {
        if !text.contains("${") && !text.contains("%{") {
            return Ok(text.into());
        }
        let template: Template = match hcl_edit::parser::parse_template(text) {
            Ok(template) => template,
            Err(error) => return self.wrong(place, "Invalid template", error.message().to_owned()),
        };
        Scope { base: at, whole: place, ..*self }.template(&template, false)
    }
}

/// Where an expression begins.
pub(super) fn start(expression: &Expression, place: &dyn Fn(Option<Range<usize>>) -> Place) -> Place {
    let whole = place(expression.span());
    match expression {
        Expression::Array(_) | Expression::Object(_) | Expression::ForExpr(_) => {
            Place { end: (whole.start + 1).min(whole.end), ..whole }
        }
        Expression::String(_) if whole.end >= whole.start + 2 => {
            Place { start: whole.start + 1, end: whole.end - 1, ..whole }
        }
        Expression::StringTemplate(template) => {
            template.iter().next().map_or(whole, |first| place(first.span()))
        }
        Expression::Conditional(choice) => start(&choice.cond_expr, place),
        Expression::BinaryOp(operation) => start(&operation.lhs_expr, place),
        Expression::Traversal(traversal) => start(&traversal.expr, place),
        Expression::FuncCall(call) => {
            let name = place(call.name.name.span());
            Place { end: name.end + 1, ..name }
        }
        _ => whole,
    }
}

/// The name that was meant, if one is like what was written.
pub(super) fn suggestion<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|known| (distance(name, known), known))
        .filter(|(far, _)| *far < 3)
        .min()
        .map(|(_, known)| known)
}

/// How many letters must be put in, left out or exchanged.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, wanted) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
