//! Reading as Go's `encoding/json` does: a key that no field spells exactly so is the field's that differs in case alone, and `null`
//! is the zero value wherever it stands, also in lists and maps. Keys of maps (labels, ports) stay as they are.
//!
//! The names come from the documents themselves: serde tells a deserializer the fields of the struct it wants. Of two keys for one
//! field the exact one counts.

use std::collections::BTreeMap;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Reads a document that a client has sent.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_value(&serde_json::from_slice(bytes)?)
}

/// Reads a document, or the part of it that `T` knows.
pub(crate) fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(Lenient(value))
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
mod tests {
    use super::*;
    use crate::containers::CreateRequest;
    use crate::containers::UpdateRequest;
    use crate::networks;

    fn read<T: DeserializeOwned>(text: &str) -> T {
        from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_of_fields_may_be_spelled_in_any_case() {
        let request: CreateRequest = read(
            r#"{"image":"busybox","CMD":["a"],"labels":{"image":"Kept","IMAGE":"too"},"healthcheck":{"test":["NONE"]},
                "hostconfig":{"restartpolicy":{"name":"always"},"memory":7,"autoremove":true,
                "portbindings":{"80/tcp":[{"hostip":"::1","hostport":"8080"}]}},
                "networkingconfig":{"endpointsconfig":{"Front":{"aliases":["web"]}}}}"#,
        );
        assert_eq!(
            (request.config.image.as_str(), request.config.cmd.as_slice()),
            ("busybox", &["a".into()][..])
        );
        assert_eq!(request.config.labels.keys().collect::<Vec<_>>(), ["IMAGE", "image"]);
        assert_eq!(request.config.healthcheck.unwrap().test, ["NONE"]);
        let host = request.host_config.unwrap();
        assert_eq!((host.restart_policy.name.as_str(), host.resources.memory), ("always", 7));
        assert!(host.auto_remove);
        assert_eq!(host.port_bindings["80/tcp"].as_ref().unwrap()[0].host_ip, "::1");
        assert!(request.networking_config.unwrap().endpoints_config.contains_key("Front"));
        let update: UpdateRequest = read(r#"{"MEMORY":5,"restartPolicy":{"Name":"no"}}"#);
        assert_eq!((update.resources.memory, update.restart_policy.name.as_str()), (5, "no"));
    }

    #[test]
    fn the_exact_name_counts() {
        for text in [r#"{"image":"a","Image":"b","IMAGE":"c"}"#, r#"{"Image":"b","image":"a"}"#] {
            assert_eq!(read::<CreateRequest>(text).config.image, "b");
        }
    }

    #[test]
    fn null_is_zero_wherever_it_stands() {
        let request: CreateRequest =
            read(r#"{"Labels":{"a":null,"b":"c"},"Env":[null,"A=b"],"Tty":null,"HostConfig":null}"#);
        assert_eq!(request.config.labels["a"], "");
        assert_eq!(request.config.env, ["", "A=b"]);
        assert!(!request.config.tty && request.host_config.is_none());
        let network: networks::CreateRequest =
            read(r#"{"Name":"n","IPAM":{"Config":[null]},"Options":{"x":null}}"#);
        assert_eq!(network.options["x"], "");
        assert_eq!(network.ipam.unwrap().config.len(), 1);
    }

    #[test]
    fn what_is_of_another_type_is_an_error() {
        for text in [r#"{"image":5}"#, r#"{"hostconfig":"x"}"#, r#"{"Labels":{"a":{}}}"#, "7", "\"x\""] {
            assert!(from_slice::<CreateRequest>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
