//! Calls of functions.

use std::collections::BTreeMap;

use hcl_edit::expr::{Expression, FuncCall};

use super::diagnostic::{Diagnostics, Place};
use super::evaluate::{Locals, Outcome, Scope, UserFunction, suggestion};
use super::typed::type_of_expression;
use crate::functions::{self, Arguments, Failure, Function, Kind};
use crate::value::{Type, Value, convert, mismatch};

/// An argument: where it stands, and its value.
struct Argument {
    place: Place,
    value: Outcome,
}

impl Scope<'_> {
    pub(super) fn call(&self, call: &FuncCall) -> Outcome {
        let name = super::references::full_name(&call.name);
        let name = name.as_str();
        let place = self.place(call);
        match name {
            "try" => return self.attempt(call, place),
            "can" => return self.possible(call, place),
            "convert" => return self.conversion(call, place),
            _ => {}
        }
        if let Some(function) = functions::find(name) {
            let arguments = self.arguments(call)?;
            let count = (function.parameters.len(), function.rest.is_some());
            let missing = |at: usize| function.parameters.get(at).map_or("", |(name, _)| *name).to_owned();
            self.counted(name, count, &arguments, missing, place)?;
            return self.library(function, arguments, place);
        }
        match self.resolved(self.names.function(name))? {
            Some(function) => {
                let arguments = self.arguments(call)?;
                let count = (function.parameters.len(), function.rest.is_some());
                let missing = |at: usize| function.parameters.get(at).cloned().unwrap_or_default();
                self.counted(name, count, &arguments, missing, place)?;
                self.own(name, function, arguments, place)
            }
            None => {
                let mut known = self.names.functions();
                known.extend(functions::names().map(str::to_owned));
                let hint = suggestion(name, known.iter().map(String::as_str));
                let hint = hint.map(|name| format!(" Did you mean {name:?}?")).unwrap_or_default();
                let detail = format!("There is no function named {name:?}.{hint}");
                self.wrong(self.place(&call.name.name), "Call to unknown function", detail)
            }
        }
    }

    /// The arguments; the elements of the last, if it is followed by dots.
    fn arguments(&self, call: &FuncCall) -> Result<Vec<Argument>, Diagnostics> {
        let all: Vec<&Expression> = call.args.iter().collect();
        let one = |expression: &&Expression| Argument {
            place: self.start(expression),
            value: self.value(expression),
        };
        let Some((last, before)) = all.split_last().filter(|_| call.args.expand_final()) else {
            return Ok(all.iter().map(one).collect());
        };
        let mut arguments: Vec<Argument> = before.iter().map(one).collect();
        let (value, place) = (self.value(last)?, self.place(*last));
        match (value.items(), &value) {
            (Some(items), _) => {
                arguments.extend(items.iter().map(|item| Argument { place, value: Ok(item.clone()) }));
                Ok(arguments)
            }
            (None, Value::Null(_)) => self.wrong(
                place,
                "Invalid expanding argument value",
                "The expanding argument (indicated by ...) must not be null.",
            ),
            _ => self.wrong(
                place,
                "Invalid expanding argument value",
                "The expanding argument (indicated by ...) must be of a tuple, list, or set type.",
            ),
        }
    }

    fn counted(
        &self,
        name: &str,
        (wanted, open): (usize, bool),
        arguments: &[Argument],
        missing: impl Fn(usize) -> String,
        place: Place,
    ) -> Result<(), Diagnostics> {
        if arguments.len() < wanted {
            let (least, lacks) = (if open { " at least" } else { "" }, missing(arguments.len()));
            let detail = format!(
                "Function {name:?} expects{least} {wanted} argument(s). Missing value for {lacks:?}."
            );
            let end = Place { start: place.end.saturating_sub(1), ..place };
            return self.wrong(end, "Not enough function arguments", detail);
        }
        match arguments.get(wanted) {
            Some(extra) if !open => {
                let detail = format!("Function {name:?} expects only {wanted} argument(s).");
                self.wrong(extra.place, "Too many function arguments", detail)
            }
            _ => Ok(()),
        }
    }

    fn library(&self, function: &Function, arguments: Vec<Argument>, place: Place) -> Outcome {
        let invalid = |at: usize, place: Place, why: &str| {
            let name = function.parameters.get(at).or(function.rest.as_ref()).map_or("", |(name, _)| *name);
            let detail = format!("Invalid value for {name:?} parameter: {why}.");
            Diagnostics::one(place, "Invalid function argument", detail)
        };
        let places: Vec<Place> = arguments.iter().map(|argument| argument.place).collect();
        let converted = arguments.into_iter().enumerate().map(|(at, argument)| {
            let value = argument.value?;
            let kind = function.parameters.get(at).or(function.rest.as_ref()).map_or(Kind::Any, |(_, k)| *k);
            match convert(&value, &kind.wanted()) {
                Ok(Value::Null(_)) if kind != Kind::Nullable => {
                    Err(invalid(at, argument.place, "argument must not be null"))
                }
                Ok(value) => Ok(value),
                Err(why) => Err(invalid(at, argument.place, &why)),
            }
        });
        let values = self.all(converted)?;
        let arguments = Arguments { values: &values, home: self.names.home() };
        (function.call)(&arguments).map_err(|Failure { argument, message }| match argument {
            Some(at) => invalid(at, places.get(at).copied().unwrap_or(place), &message),
            None => self.failed(function.name, &message, place),
        })
    }

    fn failed(&self, name: &str, why: &str, place: Place) -> Diagnostics {
        let head = Place { end: (place.start + name.len() + 1).min(place.end), ..place };
        Diagnostics::one(head, "Error in function call", format!("Call to function {name:?} failed: {why}."))
    }

    /// A function of the file: its result knows its parameters, and what the file defines.
    fn own(&self, name: &str, function: &UserFunction, arguments: Vec<Argument>, place: Place) -> Outcome {
        let mut values = self.all(arguments.into_iter().map(|argument| argument.value))?;
        let rest = values.split_off(function.parameters.len().min(values.len()));
        let mut named: BTreeMap<String, Value> = function.parameters.iter().cloned().zip(values).collect();
        if let Some(name) = &function.rest {
            named.insert(name.clone(), Value::Tuple(rest));
        }
        let locals = Locals { values: named, parent: None };
        Scope::evaluate(self.names, Some(&locals), &function.result).map_err(|inner| {
            let why = inner.0.first().map(|first| format!("{}; {}", first.summary, first.detail));
            self.failed(name, &why.unwrap_or_default(), place)
        })
    }

    /// The first argument that can be evaluated.
    fn attempt(&self, call: &FuncCall, place: Place) -> Outcome {
        let mut all = Diagnostics::default();
        for argument in call.args.iter() {
            match self.value(argument) {
                Ok(value) => return Ok(value),
                Err(wrong) => all = all.and(wrong),
            }
        }
        if call.args.is_empty() {
            return Err(self.failed("try", "at least one argument is required", place));
        }
        let line = |wrong: &super::diagnostic::Diagnostic| {
            let place = self.names.position(&wrong.place);
            format!("- {} (at {place})\n  {}\n", wrong.summary, wrong.detail)
        };
        let lines = all.0.iter().map(line);
        let why = format!(
            "no expression succeeded:\n{}\nAt least one expression must produce a successful result",
            lines.collect::<String>()
        );
        Err(self.failed("try", &why, place))
    }

    fn possible(&self, call: &FuncCall, place: Place) -> Outcome {
        let (Some(only), 1) = (call.args.iter().next(), call.args.len()) else {
            return self.needs("can", &["expression"], call, place);
        };
        Ok(self.value(only).is_ok().into())
    }

    /// `convert(value, type)`.
    fn conversion(&self, call: &FuncCall, place: Place) -> Outcome {
        let all: Vec<&Expression> = call.args.iter().collect();
        let [value, kind] = all.as_slice() else {
            return self.needs("convert", &["value", "type"], call, place);
        };
        let want = exact(type_of_expression(kind, &|expression| self.place(expression))?);
        let given = self.value(value)?;
        convert(&given, &want).or_else(|why| {
            let why = match why.is_empty() {
                true => mismatch(&given.kind(), &want),
                false => why,
            };
            let detail = format!("Invalid value for \"value\" parameter: {why}.");
            self.wrong(self.start(value), "Invalid function argument", detail)
        })
    }

    fn needs(&self, name: &str, wanted: &[&str], call: &FuncCall, place: Place) -> Outcome {
        let arguments: Vec<Argument> =
            call.args.iter().map(|a| Argument { place: self.start(a), value: Ok(Value::NULL) }).collect();
        let missing = |at: usize| wanted.get(at).copied().unwrap_or_default().to_owned();
        self.counted(name, (wanted.len(), false), &arguments, missing, place)?;
        Ok(Value::NULL)
    }
}

/// A type all of whose attributes are needed.
fn exact(kind: Type) -> Type {
    match kind {
        Type::Object(members, _) => {
            let members = members.into_iter().map(|(name, kind)| (name, exact(kind)));
            Type::Object(members.collect(), Default::default())
        }
        Type::List(element) => Type::list(exact(*element)),
        Type::Set(element) => Type::set(exact(*element)),
        Type::Map(element) => Type::map(exact(*element)),
        Type::Tuple(kinds) => Type::Tuple(kinds.into_iter().map(exact).collect()),
        other => other,
    }
}
