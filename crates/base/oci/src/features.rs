//! The OCI runtime specification's features document (`features.md`, runtime-spec 1.3): what a runtime knows, whether or not
//! the machine that it runs on can do it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor, value::Error};
use serde::{Serialize, forward_to_deserialize_any};

use crate::runtime::NamespaceType;

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    pub oci_version_min: String,
    pub oci_version_max: String,
    pub hooks: Vec<String>,
    /// Those that are not for the file system.
    pub mount_options: Vec<String>,
    pub linux: Linux,
    pub annotations: BTreeMap<String, String>,
    /// Annotations of containers that the runtime acts on; what ends with a dot is a prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub potentially_unsafe_config_annotations: Vec<String>,
}

/// The Linux part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    pub namespaces: Vec<NamespaceType>,
    pub capabilities: Vec<String>,
    pub cgroup: Cgroup,
    pub seccomp: Seccomp,
    pub apparmor: Enabled,
    pub selinux: Enabled,
    pub intel_rdt: IntelRdt,
    pub memory_policy: MemoryPolicy,
    pub mount_extensions: MountExtensions,
    pub net_devices: Enabled,
}

/// Whether something is served at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Enabled {
    pub enabled: bool,
}

/// Which versions of control groups, and who may make them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    pub v1: bool,
    pub v2: bool,
    pub systemd: bool,
    pub systemd_user: bool,
    pub rdma: bool,
}

/// The words of system call filters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    pub enabled: bool,
    pub actions: Vec<String>,
    pub operators: Vec<String>,
    pub archs: Vec<String>,
    pub known_flags: Vec<String>,
    /// Those that the running kernel takes.
    pub supported_flags: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IntelRdt {
    pub enabled: bool,
    pub schemata: bool,
    pub monitoring: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    pub modes: Vec<String>,
    pub flags: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MountExtensions {
    pub idmap: Enabled,
}

/// The words that a document may have for an enumeration without fields, sorted: asked of its own deserializer, which is
/// what decides.
pub fn words<'de, T: Deserialize<'de>>() -> Vec<String> {
    let mut words: &'static [&'static str] = &[];
    // It is not meant to give a value.
    let _ = T::deserialize(Ask { words: &mut words });
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.sort_unstable();
    words
}

/// Remembers the words that it was asked to tell apart.
struct Ask<'a> {
    words: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("no enumeration"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.words = variants;
        Err(serde::de::Error::custom("the words are known now"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({:?})", self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{SeccompAction, SeccompOp};

    #[test]
    fn every_word_that_is_understood_is_told() {
        let actions = words::<SeccompAction>();
        assert_eq!(actions.len(), 9, "{actions:?}");
        assert!(actions.iter().any(|word| word == "SCMP_ACT_KILL_THREAD"), "{actions:?}");
        for word in actions {
            assert!(serde_json::from_value::<SeccompAction>(word.clone().into()).is_ok(), "{word}");
        }
        assert_eq!(words::<SeccompOp>().len(), 7);
        assert_eq!(words::<NamespaceType>().first().map(String::as_str), Some("cgroup"));
        assert!(words::<String>().is_empty());
    }
}
