//! The fields of targets and groups: which there are, what they hold, and how a later word joins an earlier one.

use std::collections::BTreeMap;

use crate::entry::{self, Entry};
use crate::value::{Type, Value, convert};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Text,
    Flag,
    Strings,
    Map,
    Attest,
    Cache,
    Output,
    Secret,
    Ssh,
    Policy,
    Resources,
}

/// How a field of one block joins that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    Replaced,
    Appended,
}

pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub joined: Joined,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Flag(bool),
    Strings(Vec<String>),
    Map(BTreeMap<String, String>),
    Entries(Vec<Entry>),
    /// Limits by name, in their order.
    Resources(Vec<(&'static str, Value)>),
}

const fn field(name: &'static str, shape: Shape, joined: Joined) -> Field {
    Field { name, shape, joined }
}

/// Those of targets, in the order in which they are printed.
pub const TARGET: &[Field] = &[
    field("description", Shape::Text, Joined::Replaced),
    field("inherits", Shape::Strings, Joined::Appended),
    field("annotations", Shape::Strings, Joined::Appended),
    field("attest", Shape::Attest, Joined::Appended),
    field("context", Shape::Text, Joined::Replaced),
    field("contexts", Shape::Map, Joined::Appended),
    field("dockerfile", Shape::Text, Joined::Replaced),
    field("dockerfile-inline", Shape::Text, Joined::Replaced),
    field("args", Shape::Map, Joined::Appended),
    field("labels", Shape::Map, Joined::Appended),
    field("tags", Shape::Strings, Joined::Replaced),
    field("cache-from", Shape::Cache, Joined::Appended),
    field("cache-to", Shape::Cache, Joined::Replaced),
    field("target", Shape::Text, Joined::Replaced),
    field("secret", Shape::Secret, Joined::Appended),
    field("ssh", Shape::Ssh, Joined::Appended),
    field("platforms", Shape::Strings, Joined::Replaced),
    field("output", Shape::Output, Joined::Replaced),
    field("pull", Shape::Flag, Joined::Replaced),
    field("no-cache", Shape::Flag, Joined::Replaced),
    field("network", Shape::Text, Joined::Replaced),
    field("no-cache-filter", Shape::Strings, Joined::Appended),
    field("shm-size", Shape::Text, Joined::Replaced),
    field("ulimits", Shape::Strings, Joined::Appended),
    field("resources", Shape::Resources, Joined::Appended),
    field("call", Shape::Text, Joined::Replaced),
    field("entitlements", Shape::Strings, Joined::Appended),
    field("extra-hosts", Shape::Map, Joined::Appended),
    field("policy", Shape::Policy, Joined::Appended),
];

const GROUP: &[Field] = &[
    field("description", Shape::Text, Joined::Replaced),
    field("targets", Shape::Strings, Joined::Replaced),
];

/// The limits of `resources`, and whether each is a number.
pub const RESOURCES: &[(&str, bool)] = &[
    ("memory", false),
    ("memory-swap", false),
    ("cpu-shares", true),
    ("cpu-period", true),
    ("cpu-quota", true),
    ("cpuset-cpus", false),
    ("cpuset-mems", false),
];

/// The fields of a kind of block.
pub fn fields(kind: &str) -> impl Iterator<Item = &'static Field> {
    if kind == "group" { GROUP.iter() } else { TARGET.iter() }
}

pub fn find(kind: &str, name: &str) -> Option<&'static Field> {
    fields(kind).find(|field| field.name == name)
}

impl Shape {
    /// The type of a value of it.
    pub fn kind(self) -> Type {
        match self {
            Shape::Text => Type::String,
            Shape::Flag => Type::Bool,
            Shape::Strings => Type::list(Type::String),
            Shape::Map => Type::map(Type::String),
            Shape::Secret => Type::list(optional(&["id", "src", "env"].map(|name| (name, Type::String)))),
            Shape::Ssh => Type::list(optional(&[("id", Type::String), ("paths", Type::list(Type::String))])),
            Shape::Resources => {
                let kind = |number: bool| if number { Type::Number } else { Type::String };
                optional(&RESOURCES.iter().map(|(name, number)| (*name, kind(*number))).collect::<Vec<_>>())
            }
            Shape::Attest | Shape::Cache | Shape::Output | Shape::Policy => {
                Type::list(Type::map(Type::String))
            }
        }
    }

    /// What a value says; nothing if it is null.
    pub fn content(self, value: &Value) -> Result<Option<Content>, String> {
        if value.is_null() {
            return Ok(None);
        }
        let value = match self {
            Shape::Attest | Shape::Cache | Shape::Output | Shape::Secret | Shape::Ssh | Shape::Policy => {
                return entry::of_values(self, value).map(Content::Entries).map(Some);
            }
            other => convert(value, &other.kind())?,
        };
        Ok(Some(match (self, value) {
            (Shape::Text, Value::String(text)) => Content::Text(text),
            (Shape::Flag, Value::Bool(truth)) => Content::Flag(truth),
            (Shape::Strings, Value::List(_, items)) => {
                let text = |item: Value| match item {
                    Value::String(text) => Ok(text),
                    _ => Err("null value is not allowed".to_owned()),
                };
                Content::Strings(items.into_iter().map(text).collect::<Result<_, _>>()?)
            }
            // What is null is not there.
            (Shape::Map, Value::Map(_, members)) => {
                let text = |(name, value)| match value {
                    Value::String(text) => Some((name, text)),
                    _ => None,
                };
                Content::Map(members.into_iter().filter_map(text).collect())
            }
            (Shape::Resources, Value::Object(members)) => {
                let one = |(name, _): &(&'static str, bool)| {
                    Some((*name, members.get(*name).filter(|value| !value.is_null())?.clone()))
                };
                Content::Resources(RESOURCES.iter().filter_map(one).collect())
            }
            _ => return Ok(None),
        }))
    }
}

fn optional(members: &[(&str, Type)]) -> Type {
    let names = members.iter().map(|(name, _)| (*name).to_owned()).collect();
    Type::Object(members.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect(), names)
}
