//! YAML with the two tags that say how a value goes on top of an earlier file's: `!reset` takes away what is there, `!override`
//! stands in its place where it would be merged.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Tagged;

/// Where in a document something stands: the keys that lead to it.
pub type Place = Vec<String>;

/// A document as it is merged.
#[derive(Default)]
pub struct Document {
    /// Without what it resets.
    pub value: Value,
    /// Where nothing of earlier files is left.
    pub cleared: Vec<Place>,
}

impl Document {
    pub fn read(text: &str) -> Result<Document, String> {
        // As Go's YAML: `on` and `yes` are words unless a boolean is wanted, 0022 is octal.
        let options = serde_saphyr::options! { strict_booleans: true, legacy_octal_numbers: true };
        let root: Tagged<Content> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        let mut cleared = Vec::new();
        let value = untagged(root, &mut Vec::new(), &mut cleared).unwrap_or_default();
        Ok(Document { value, cleared })
    }
}

/// Takes away what stands at a place, if something does.
pub fn clear(members: &mut Map<String, Value>, place: &[String]) {
    match place {
        [] => {}
        [last] => {
            members.remove(last);
        }
        [first, rest @ ..] => {
            if let Some(inner) = members.get_mut(first).and_then(Value::as_object_mut) {
                clear(inner, rest);
            }
        }
    }
}

/// The plain value, unless it is reset; where the tags stand is written down.
fn untagged(
    Tagged(content, tag): Tagged<Content>,
    place: &mut Place,
    cleared: &mut Vec<Place>,
) -> Option<Value> {
    match tag.as_deref() {
        Some("!reset") => {
            cleared.push(place.clone());
            return None;
        }
        Some("!override") => cleared.push(place.clone()),
        _ => {}
    }
    let mut within = |key: String, value| {
        place.push(key);
        let value = untagged(value, place, cleared);
        Some((place.pop()?, value?))
    };
    Some(match content {
        Content::Scalar(value) => value,
        Content::List(items) => {
            let items = items.into_iter().enumerate();
            items.filter_map(|(at, item)| Some(within(at.to_string(), item)?.1)).collect()
        }
        Content::Members(members) => {
            members.into_iter().filter_map(|(name, member)| within(name, member)).collect()
        }
    })
}

/// A value whose parts have their tags.
enum Content {
    Scalar(Value),
    List(Vec<Tagged<Content>>),
    Members(Vec<(String, Tagged<Content>)>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Content, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Content::Members(members))
    }
}
