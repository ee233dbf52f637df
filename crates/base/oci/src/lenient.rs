//! Reading as Go's `encoding/json` does: a key that no field spells exactly so is the field's that differs in case alone, and `null`
//! is the zero value wherever it stands, also in lists and maps. Keys of maps (labels, ports) stay as they are.
//!
//! The names come from the documents themselves: serde tells a deserializer the fields of the struct it wants. Of two keys for one
//! field the exact one counts.

use std::collections::BTreeMap;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Reads a document that a client has sent.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_value(&serde_json::from_slice(bytes)?)
}

/// Reads a document from a file: Go's decoders of streams don't look at what follows it.
pub fn from_file<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_value(&first(bytes)?)
}

/// The document that bytes begin with.
pub fn first(bytes: &[u8]) -> Result<Value, Error> {
    Value::deserialize(&mut serde_json::Deserializer::from_slice(bytes))
}

/// Reads a document, or the part of it that `T` knows.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(deserializer(value))
}

/// What [`from_value`] reads from, for who keeps track of the way.
pub fn deserializer(value: &Value) -> impl Deserializer<'_, Error = Error> {
    Lenient(value)
}

#[derive(Clone, Copy)]
struct Lenient<'de>(&'de Value);

impl<'de> Lenient<'de> {
    fn fields<V: Visitor<'de>>(
        self,
        fields: impl IntoIterator<Item = (&'de str, &'de Value)>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor
            .visit_map(MapDeserializer::new(fields.into_iter().map(|(name, value)| (name, Lenient(value)))))
    }
}

/// The values by the names that a struct has for them.
fn spelled<'de>(
    object: &'de serde_json::Map<String, Value>,
    fields: &'static [&'static str],
) -> BTreeMap<&'de str, &'de Value> {
    let is_exact = |key: &str| fields.contains(&key);
    let mut values = BTreeMap::new();
    for (key, value) in object.iter().filter(|(key, _)| !is_exact(key)) {
        let name = fields.iter().find(|field| field.eq_ignore_ascii_case(key));
        values.insert(name.map_or(key.as_str(), |name| *name), value);
    }
    values.extend(object.iter().filter(|(key, _)| is_exact(key)).map(|(key, value)| (key.as_str(), value)));
    values
}

/// Methods that read `null` as the zero value.
macro_rules! zero {
    ($( $method:ident => $visit:ident($zero:expr) ),* $(,)?) => {
        $( fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if self.0.is_null() { visitor.$visit($zero) } else { self.deserialize_any(visitor) }
        } )*
    };
}

impl<'de> Deserializer<'de> for Lenient<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Lenient))),
            Value::Object(object) => {
                self.fields(object.iter().map(|(key, value)| (key.as_str(), value)), visitor)
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(object) if object.keys().all(|key| fields.contains(&key.as_str())) => {
                self.deserialize_any(visitor)
            }
            Value::Object(object) => self.fields(spelled(object, fields), visitor),
            Value::Null => self.fields([], visitor),
            // Serde would take its items for the fields in order.
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { self.fields([], visitor) } else { self.deserialize_any(visitor) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Lenient<'de>>())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    zero! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_u64(0), deserialize_i16 => visit_u64(0), deserialize_i32 => visit_u64(0),
        deserialize_i64 => visit_u64(0), deserialize_u8 => visit_u64(0), deserialize_u16 => visit_u64(0),
        deserialize_u32 => visit_u64(0), deserialize_u64 => visit_u64(0),
        deserialize_f32 => visit_f64(0.0), deserialize_f64 => visit_f64(0.0),
        deserialize_str => visit_borrowed_str(""), deserialize_string => visit_borrowed_str(""),
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Lenient<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests;
