//! Filters of lists and prunes: a key has several values, of which one must match.
//!
//! On the wire: `{"label":{"a=b":true}}`, and the older `{"label":["a=b"]}`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::time;

/// The values asked for by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, BTreeSet<String>>);

/// A filter that cannot be read or is not known. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid filter")]
    Syntax,
    #[error("invalid filter '{0}'")]
    Unknown(String),
    #[error("invalid filter '{key}=[{}]'", values.join(" "))]
    Value { key: String, values: Vec<String> },
    #[error("more than one {0} filter specified")]
    Several(String),
    #[error(transparent)]
    Time(#[from] time::Error),
}

impl Filters {
    /// Reads the query parameter; an empty one filters nothing.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let map: Option<Map<String, Value>> = serde_json::from_str(text).map_err(|_| Error::Syntax)?;
        let mut filters = Self::default();
        for (key, values) in map.unwrap_or_default() {
            let values = match values {
                Value::Null => BTreeSet::new(),
                Value::Array(list) => list.iter().map(string).collect::<Result<_, _>>()?,
                Value::Object(set) => switched_on(set)?,
                _ => return Err(Error::Syntax),
            };
            filters.0.insert(key, values);
        }
        Ok(filters)
    }

    /// Writes the query parameter; empty when nothing is filtered.
    pub fn to_json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let sets = self.0.iter().map(|(key, values)| {
            let set = values.iter().map(|value| (value.clone(), Value::Bool(true))).collect();
            (key.clone(), Value::Object(set))
        });
        Value::Object(sets.collect()).to_string()
    }

    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the key is filtered at all.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The values of a key.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// The one time that is asked for by any of these keys.
    pub fn instant(&self, keys: &[&str]) -> Result<Option<Timestamp>, Error> {
        let mut values = keys.iter().flat_map(|key| self.get(key).map(move |text| (key, text)));
        let Some((_, text)) = values.next() else { return Ok(None) };
        if let Some((key, _)) = values.next() {
            return Err(Error::Several((*key).to_owned()));
        }
        Ok(Some(time::parse_instant(text, Timestamp::now(), &TimeZone::UTC)?))
    }

    /// Refuses keys that the operation does not know.
    pub fn accept(&self, known: &[&str]) -> Result<(), Error> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::Unknown(key.clone())),
            None => Ok(()),
        }
    }

    /// The value of a yes-or-no key.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(values) = self.0.get(key) else { return Ok(None) };
        let fail = || Error::Value { key: key.into(), values: values.iter().cloned().collect() };
        let mut values_iter = values.iter();
        match (values_iter.next().map(String::as_str), values_iter.next()) {
            (Some("1" | "true"), None) => Ok(Some(true)),
            (Some("0" | "false"), None) => Ok(Some(false)),
            _ => Err(fail()),
        }
    }

    /// True when the key is not filtered or one of its values is `text`.
    pub fn exact(&self, key: &str, text: &str) -> bool {
        self.0.get(key).is_none_or(|values| values.is_empty() || values.contains(text))
    }

    /// True when the key is not filtered or one of its values is a part of `text`.
    pub fn part(&self, key: &str, text: &str) -> bool {
        self.0
            .get(key)
            .is_none_or(|values| values.is_empty() || values.iter().any(|v| text.contains(v.as_str())))
    }

    /// True when the key is not filtered or one of its values is a beginning of `text`.
    pub fn prefix(&self, key: &str, text: &str) -> bool {
        self.0
            .get(key)
            .is_none_or(|values| values.is_empty() || values.iter().any(|v| text.starts_with(v.as_str())))
    }

    /// True when every `name` or `name=value` of the key is among the labels.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
            None => labels.contains_key(wanted),
        })
    }

    /// True when the labels satisfy `label` and none of `label!` matches, as prunes ask.
    pub fn prune_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels("label", labels) && (!self.contains("label!") || !self.labels("label!", labels))
    }
}

/// The names that are `true`.
fn switched_on(set: Map<String, Value>) -> Result<BTreeSet<String>, Error> {
    let mut values = BTreeSet::new();
    for (value, on) in set {
        if on.as_bool().ok_or(Error::Syntax)? {
            values.insert(value);
        }
    }
    Ok(values)
}

fn string(value: &Value) -> Result<String, Error> {
    value.as_str().map(Into::into).ok_or(Error::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_forms() {
        let new = Filters::parse(r#"{"label":{"a=b":true,"c":true},"dangling":{"true":true}}"#).unwrap();
        let old = Filters::parse(r#"{"label":["a=b","c"],"dangling":["true"]}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(new.to_json(), r#"{"dangling":{"true":true},"label":{"a=b":true,"c":true}}"#);
        assert_eq!(Filters::parse("").unwrap().to_json(), "");
        assert!(Filters::parse("null").unwrap().is_empty());
        for bad in ["[", "[]", "1", r#"{"a":1}"#, r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#, "\u{0}"] {
            assert_eq!(Filters::parse(bad), Err(Error::Syntax), "{bad}");
        }
    }

    #[test]
    fn matches() {
        let filters =
            Filters::parse(r#"{"label":["a=b","c"],"name":["we"],"x":["yes"],"dangling":["1"]}"#).unwrap();
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        assert!(filters.labels("label", &labels(&[("a", "b"), ("c", "")])));
        assert!(!filters.labels("label", &labels(&[("a", "b")])));
        assert!(
            filters.part("name", "/web") && !filters.prefix("name", "/web") && !filters.exact("name", "web")
        );
        assert!(filters.exact("status", "anything"));
        assert_eq!(filters.boolean("dangling"), Ok(Some(true)));
        assert_eq!(filters.boolean("x").unwrap_err().to_string(), "invalid filter 'x=[yes]'");
        assert_eq!(
            filters.accept(&["label", "name", "x"]).unwrap_err().to_string(),
            "invalid filter 'dangling'"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = Filters::parse(&text);
        }
    }
}
