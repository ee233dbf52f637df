//! Members and elements of values: `a.b`, `a["b"]`, `a[0]`, `a[*].b`.

use hcl_edit::Decorated;
use hcl_edit::expr::{Expression, Traversal, TraversalOperator};

use super::diagnostic::Place;
use super::evaluate::{Outcome, Scope};
use crate::value::{Type, Value, convert, whole};

type Operators<'t> = &'t [Decorated<TraversalOperator>];

impl Scope<'_> {
    pub(super) fn traversal(&self, traversal: &Traversal) -> Outcome {
        if let Expression::Variable(name) = &traversal.expr
            && self.local(name.as_str()).is_none()
        {
            let path = named(&traversal.operators);
            return match self.resolved(self.names.part(name.as_str(), &path))? {
                Some(value) => self.steps(value, &traversal.operators),
                None => self.unknown(name.as_str(), self.place(name)),
            };
        }
        let value = self.value(&traversal.expr)?;
        self.steps(value, &traversal.operators)
    }

    fn steps(&self, mut value: Value, mut operators: Operators<'_>) -> Outcome {
        while let Some((operator, rest)) = operators.split_first() {
            operators = rest;
            let place = self.place(operator);
            value = match operator.value() {
                TraversalOperator::GetAttr(name) => self.attribute(&value, name.as_str(), place)?,
                TraversalOperator::LegacyIndex(at) => {
                    self.element(&value, &Value::from(*at.value() as usize), place)?
                }
                TraversalOperator::Index(key) => {
                    let key = self.value(key)?;
                    self.element(&value, &key, place)?
                }
                TraversalOperator::AttrSplat(_) => {
                    // Only attributes belong to the elements; what follows them, to the result.
                    let attribute =
                        |o: &Decorated<TraversalOperator>| matches!(o.value(), TraversalOperator::GetAttr(_));
                    let end = rest.iter().position(|o| !attribute(o)).unwrap_or(rest.len());
                    operators = &rest[end..];
                    self.splat(value, &rest[..end], place)?
                }
                TraversalOperator::FullSplat(_) => {
                    operators = &[];
                    self.splat(value, rest, place)?
                }
            };
        }
        Ok(value)
    }

    fn splat(&self, value: Value, each: Operators<'_>, place: Place) -> Outcome {
        let items = match &value {
            Value::Null(Type::List(_) | Type::Set(_) | Type::Tuple(_)) => {
                let detail = "Splat expressions (with the * symbol) cannot be applied to null sequences.";
                return self.wrong(place, "Splat of null value", detail);
            }
            Value::Null(_) => Vec::new(),
            other => match other.items() {
                Some(items) => items.to_vec(),
                None => vec![other.clone()],
            },
        };
        let items = self.all(items.into_iter().map(|item| self.steps(item, each)))?;
        Ok(match (&value, items.first()) {
            (Value::List(..) | Value::Set(..), Some(first)) => Value::List(first.kind(), items),
            (Value::List(..) | Value::Set(..), None) => Value::List(Type::Any, items),
            _ => Value::Tuple(items),
        })
    }

    fn attribute(&self, value: &Value, name: &str, place: Place) -> Outcome {
        let unsupported = "Unsupported attribute";
        match value {
            Value::Null(_) => self.wrong(
                place,
                "Attempt to get attribute from null value",
                "This value is null, so it does not have any attributes.",
            ),
            Value::Object(members) => match members.get(name) {
                Some(value) => Ok(value.clone()),
                None => {
                    let detail = format!("This object does not have an attribute named {name:?}.");
                    self.wrong(place, unsupported, detail)
                }
            },
            Value::Map(_, members) => match members.get(name) {
                Some(value) => Ok(value.clone()),
                None => {
                    let detail = format!("This map does not have an element with the key {name:?}.");
                    self.wrong(place, "Missing map element", detail)
                }
            },
            Value::List(Type::Object(members, _), _) if members.contains_key(name) => {
                let detail = format!(
                    "Can't access attributes on a list of objects. Did you mean to access attribute {name:?} for a \
                     specific element of the list, or across all elements of the list?"
                );
                self.wrong(place, unsupported, detail)
            }
            Value::List(Type::Object(..), _) => self.wrong(
                place,
                unsupported,
                "Can't access attributes on a list of objects. Did you mean to access an attribute for a specific \
                 element of the list, or across all elements of the list?",
            ),
            Value::Set(Type::Object(..), _) => self.wrong(
                place,
                unsupported,
                "Can't access attributes on a set of objects. Did you mean to access an attribute across all elements \
                 of the set?",
            ),
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {
                let kind = value.kind().name();
                let detail = format!("Can't access attributes on a primitive-typed value ({kind}).");
                self.wrong(place, unsupported, detail)
            }
            _ => self.wrong(place, unsupported, "This value does not have any attributes."),
        }
    }

    fn element(&self, value: &Value, key: &Value, place: Place) -> Outcome {
        let invalid = "Invalid index";
        let given = "The given key does not identify an element in this collection value";
        let wrong = |why: &str| self.wrong(place, invalid, format!("{given}{why}"));
        if value.is_null() {
            let detail = "This value is null, so it does not have any indices.";
            return self.wrong(place, "Attempt to index null value", detail);
        }
        if key.is_null() {
            return self.wrong(place, invalid, "Can't use a null value as an indexing key.");
        }
        match value {
            Value::List(_, items) | Value::Tuple(items) => {
                let number = match convert(key, &Type::Number) {
                    Ok(Value::Number(number)) => number,
                    Ok(_) => return wrong("."),
                    Err(why) => return wrong(&format!(": {why}.")),
                };
                match whole(&number).and_then(|at| items.get(usize::try_from(at).ok()?)) {
                    Some(item) => Ok(item.clone()),
                    None if !number.is_integer() => wrong(
                        ": indexing a sequence requires a whole number, but the given index has a fractional part.",
                    ),
                    None if number.is_negative() => {
                        wrong(": a negative number is not a valid index for a sequence.")
                    }
                    None if whole(&number) != i64::try_from(items.len()).ok() => wrong("."),
                    None if items.is_empty() => wrong(": the collection has no elements."),
                    None => {
                        wrong(": the given index is greater than or equal to the length of the collection.")
                    }
                }
            }
            Value::Map(_, members) | Value::Object(members) => {
                let name = match convert(key, &Type::String) {
                    Ok(Value::String(name)) => name,
                    Ok(_) => return wrong("."),
                    Err(why) => return wrong(&format!(": {why}.")),
                };
                match members.get(&name) {
                    Some(value) => Ok(value.clone()),
                    None if matches!((value, key), (Value::Object(_), Value::Number(_))) => wrong(
                        ". An object only supports looking up attributes by name, not by numeric index.",
                    ),
                    None => wrong("."),
                }
            }
            Value::Set(..) => self.wrong(
                place,
                invalid,
                "Elements of a set are identified only by their value and don't have any separate index or key to \
                 select with, so it's only possible to perform operations across all elements of the set.",
            ),
            _ => self.wrong(place, invalid, "This value does not have any indices."),
        }
    }
}

/// The steps that are names, before any that must be evaluated.
pub(super) fn named(operators: Operators<'_>) -> Vec<String> {
    let name = |operator: &Decorated<TraversalOperator>| match operator.value() {
        TraversalOperator::GetAttr(name) => Some(name.as_str().to_owned()),
        TraversalOperator::Index(Expression::String(key)) => Some(key.value().clone()),
        _ => None,
    };
    operators.iter().map_while(name).collect()
}
