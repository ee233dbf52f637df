//! Values and types of HCL, as its type system (cty) defines them: three primitives, collections of one type, and
//! structures whose members have types of their own.

mod convert;
mod decimal;
mod json;
mod number;
mod unify;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

pub use convert::{convert, convertible, mismatch};
pub use decimal::{compact, exponential, fixed, text};
pub use json::{decode, document, encode, escape, typed};
pub use number::{Number, parse, whole};
pub use unify::unify;

/// What a value is, or must become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Not known, or anything.
    Any,
    String,
    Number,
    Bool,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    /// Attributes, and those of them that may be missing.
    Object(BTreeMap<String, Type>, BTreeSet<String>),
}

impl Type {
    pub fn list(element: Type) -> Type {
        Type::List(Box::new(element))
    }

    pub fn set(element: Type) -> Type {
        Type::Set(Box::new(element))
    }

    pub fn map(element: Type) -> Type {
        Type::Map(Box::new(element))
    }

    /// Its name in messages about values.
    pub fn name(&self) -> String {
        match self {
            Type::Any => "dynamic".to_owned(),
            Type::String => "string".to_owned(),
            Type::Number => "number".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::List(element) => format!("list of {}", element.name()),
            Type::Set(element) => format!("set of {}", element.name()),
            Type::Map(element) => format!("map of {}", element.name()),
            Type::Tuple(_) => "tuple".to_owned(),
            Type::Object(..) => "object".to_owned(),
        }
    }

    /// Its name in messages about what is needed.
    pub fn needed(&self) -> String {
        let element = |element: &Type| match element {
            Type::Any => "any single type".to_owned(),
            other => other.needed(),
        };
        match self {
            Type::Any => "any type".to_owned(),
            Type::List(inner) => format!("list of {}", element(inner)),
            Type::Set(inner) => format!("set of {}", element(inner)),
            Type::Map(inner) => format!("map of {}", element(inner)),
            other => other.name(),
        }
    }

    pub fn is_primitive(&self) -> bool {
        matches!(self, Type::String | Type::Number | Type::Bool)
    }

    pub fn is_collection(&self) -> bool {
        self.element().is_some()
    }

    /// The type of a collection's elements.
    pub fn element(&self) -> Option<&Type> {
        match self {
            Type::List(element) | Type::Set(element) | Type::Map(element) => Some(element),
            _ => None,
        }
    }
}

/// A value. Sets are sorted and hold nothing twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null(Type),
    String(String),
    Number(Number),
    Bool(bool),
    List(Type, Vec<Value>),
    Set(Type, Vec<Value>),
    Map(Type, BTreeMap<String, Value>),
    Tuple(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// A null of no type: that of the word `null`.
    pub const NULL: Value = Value::Null(Type::Any);

    pub fn set(element: Type, mut items: Vec<Value>) -> Value {
        items.sort_by(Value::order);
        items.dedup();
        Value::Set(element, items)
    }

    pub fn strings(items: impl IntoIterator<Item = String>) -> Value {
        Value::List(Type::String, items.into_iter().map(Value::String).collect())
    }

    pub fn kind(&self) -> Type {
        match self {
            Value::Null(kind) => kind.clone(),
            Value::String(_) => Type::String,
            Value::Number(_) => Type::Number,
            Value::Bool(_) => Type::Bool,
            Value::List(element, _) => Type::list(element.clone()),
            Value::Set(element, _) => Type::set(element.clone()),
            Value::Map(element, _) => Type::map(element.clone()),
            Value::Tuple(items) => Type::Tuple(items.iter().map(Value::kind).collect()),
            Value::Object(members) => {
                let kinds = members.iter().map(|(name, value)| (name.clone(), value.kind()));
                Type::Object(kinds.collect(), BTreeSet::new())
            }
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null(_))
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list, a set or a tuple.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The members of a map or an object.
    pub fn members(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Map(_, members) | Value::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The order in which sets hold their elements.
    pub fn order(&self, other: &Value) -> Ordering {
        let rank = |value: &Value| match value {
            Value::Null(_) => 9,
            Value::Bool(_) => 0,
            Value::Number(_) => 1,
            Value::String(_) => 2,
            Value::List(..) | Value::Set(..) | Value::Tuple(_) => 3,
            Value::Map(..) | Value::Object(_) => 4,
        };
        match (self, other) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            _ => match (self.items(), other.items()) {
                (Some(a), Some(b)) => {
                    let unequal = a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne());
                    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
                }
                _ => match (self.members(), other.members()) {
                    (Some(a), Some(b)) => {
                        let mut pairs = a.iter().zip(b);
                        let unequal = pairs
                            .find_map(|(a, b)| Some(a.0.cmp(b.0).then(a.1.order(b.1))).filter(|o| o.is_ne()));
                        unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
                    }
                    _ => rank(self).cmp(&rank(other)),
                },
            },
        }
    }

    /// `==` of HCL: values of unlike types are unequal, but for nulls.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null(_), Value::Null(_)) => true,
            (Value::Null(_), _) | (_, Value::Null(_)) => false,
            _ => self == other,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::from(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Value {
        Value::Number(number)
    }
}
