//! How Go's encoder and decoder treat nulls, zeros and empty collections, as serde attributes.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Declares a document: PascalCase names, every field optional and nullable on reading.
///
/// `flatten { field: Type }` embeds another document's fields at that place, as Go does with anonymous fields.
macro_rules! document {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$fm:meta])* pub $f:ident : $t:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        pub struct $name {
            $(
                $(#[$fm])*
                #[serde(deserialize_with = "crate::json::nullable")]
                pub $f: $t,
            )*
        }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$fm:meta])* pub $f:ident : $t:ty ),* $(,)?
        }
        flatten { $( $(#[$em:meta])* pub $e:ident : $et:ty ),* $(,)? }
        { $( $(#[$gm:meta])* pub $g:ident : $gt:ty ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $name {
            $( $(#[$fm])* pub $f: $t, )*
            $( $(#[$em])* #[serde(flatten)] pub $e: $et, )*
            $( $(#[$gm])* pub $g: $gt, )*
        }

        // By hand, as serde's own way asks for a map and doesn't say whose: then nobody could tell the names of fields.
        const _: () = {
            #[derive(Default, serde::Deserialize)]
            #[serde(default, rename_all = "PascalCase")]
            struct Own {
                $( $(#[$fm])* #[serde(deserialize_with = "crate::json::nullable")] $f: $t, )*
                $( $(#[$gm])* #[serde(deserialize_with = "crate::json::nullable")] $g: $gt, )*
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    use serde::de::Error as _;
                    let value = serde_json::Value::deserialize(deserializer)?;
                    let own: Own = crate::lenient::from_value(&value).map_err(D::Error::custom)?;
                    Ok($name {
                        $( $f: own.$f, )*
                        $( $e: crate::lenient::from_value(&value).map_err(D::Error::custom)?, )*
                        $( $g: own.$g, )*
                    })
                }
            }
        };
    };
}

/// `null` reads as the default.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's `omitempty`: zero numbers, empty strings and collections, false and absent pointers.
pub(crate) fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An empty Go slice or map that was never made encodes as `null`.
pub(crate) fn null_if_empty<S, T>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    T: Serialize + Default + PartialEq,
{
    if zero(value) { serializer.serialize_none() } else { value.serialize(serializer) }
}

/// A set of names, which Go spells `map[string]struct{}`: `{"80/tcp":{}}`. Empty is `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameSet(pub BTreeSet<String>);

impl std::ops::Deref for NameSet {
    type Target = BTreeSet<String>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for NameSet {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<S: Into<String>> FromIterator<S> for NameSet {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl Serialize for NameSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_none();
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for name in &self.0 {
            map.serialize_entry(name, &serde_json::Map::new())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for NameSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, serde::de::IgnoredAny>::deserialize(deserializer)?;
        Ok(Self(map.into_keys().collect()))
    }
}

/// A command line: a list of arguments, which clients may also send as one string. Absent (`null`) and
/// empty differ: an absent entry point inherits the image's, an empty one clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrSlice(pub Option<Vec<String>>);

impl StrSlice {
    /// The arguments; none when absent.
    pub fn as_slice(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }

    /// True when there are no arguments, absent or not.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl From<Vec<String>> for StrSlice {
    fn from(arguments: Vec<String>) -> Self {
        Self(Some(arguments))
    }
}

impl Serialize for StrSlice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            List(Vec<String>),
            One(String),
        }
        Ok(Self(Option::<Form>::deserialize(deserializer)?.map(|form| match form {
            Form::List(list) => list,
            Form::One(one) => vec![one],
        })))
    }
}
