//! Image documents: descriptor, manifest, index and configuration (OCI image-spec 1.1 and Docker's
//! image manifest version 2 schema 2, which are the same documents under other media types).
//!
//! [`Document::parse`] is the one way from bytes of unknown origin to a manifest or an index; it refuses
//! documents that could be read as both (CVE-2021-41190). The configuration is read leniently, as old images
//! have `null` where today's have nothing. Sizes are bytes, times are RFC 3339 texts.

use crate::media_types::{self, OCI_INDEX, OCI_MANIFEST};
use crate::{Digest, Platform, nullable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Largest manifest or index that we read, the limit that registries have.
pub const MANIFEST_MAX: u64 = 4 << 20;
/// Largest image configuration that we read.
pub const CONFIG_MAX: u64 = 8 << 20;
/// How deep an index may hold indexes.
pub const INDEX_DEPTH_MAX: u32 = 3;

/// A typed, sized, verifiable pointer to content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Places to get it from besides the registry; never used by us.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the image behind it was made for (in an index).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of the artifact behind it (in an index).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// The descriptor of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }
}

/// The manifest of one image: its configuration and its layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(deserialize_with = "nullable::default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<Descriptor>>,
    /// Annotations.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// The type of what it describes if that is no image: a chart, a program for another machine, a signature. What has a
    /// layer that is an archive of files, of a kind that is known or not, is an image.
    pub fn artifact_kind(&self) -> Option<&str> {
        let kinds = [self.artifact_type.as_deref().unwrap_or_default(), &self.config.media_type];
        let own = || kinds.into_iter().find(|kind| !kind.is_empty() && !media_types::is_config(kind));
        match media_types::is_config(&self.config.media_type) {
            true if self.artifact_type.is_none() => {
                let kinds = || self.layers.iter().map(|layer| layer.media_type.as_str());
                // A document in a layer's place is a mistake, and no kind of its own.
                let mistaken =
                    kinds().any(|kind| media_types::is_manifest(kind) || media_types::is_index(kind));
                kinds().find(|kind| !mistaken && !media_types::is_archive(kind))
            }
            _ => own(),
        }
    }

    /// An OCI manifest of this configuration and these layers.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// An index: the manifests of one image for several platforms, and what is attached to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The members.
    #[serde(deserialize_with = "nullable::default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<Descriptor>>,
    /// Annotations.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// An OCI index of these members.
    pub fn new(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: OCI_INDEX.to_owned(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The member that is best for this platform; attestations and other members that can't run never are.
    pub fn best(&self, wanted: &Platform) -> Option<&Descriptor> {
        let candidates = self.manifests.iter().map(|descriptor| match is_attestation(descriptor) {
            true => None,
            false => descriptor.platform.as_ref(),
        });
        wanted.best(candidates).map(|index| &self.manifests[index])
    }

    /// The members that may be images, but only their configurations say for which platform.
    pub fn without_platform(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|member| member.platform.is_none() && !is_attestation(member))
    }
}

/// The annotation of such a member with the digest of the manifest that it speaks of.
pub const ATTESTED: &str = "vnd.docker.reference.digest";

/// Whether a member of an index is BuildKit's attestation manifest and no image.
pub fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest")
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// The manifest of one image.
    Manifest(Box<Manifest>),
    /// An index.
    Index(Index),
}

/// Why bytes are no manifest and no index.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Larger than any honest manifest.
    #[error("manifest of {0} bytes is larger than {MANIFEST_MAX} bytes")]
    TooLarge(u64),
    /// No JSON, or a field of the wrong type.
    #[error("parse manifest")]
    Json(#[source] serde_json::Error),
    /// Docker's image manifest version 1.
    #[error("manifest schema version {0} is not supported")]
    Schema(u64),
    /// It could be read as a manifest and as an index.
    #[error("ambiguous manifest: it has both layers and manifests")]
    Ambiguous,
    /// The type it gives itself isn't the type of what it contains.
    #[error("manifest says that it is {0:?}, which does not fit its contents")]
    MediaType(String),
}

/// The fields that tell a manifest from an index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: String,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a manifest or an index from bytes of unknown origin.
    pub fn parse(bytes: &[u8]) -> Result<Document, DocumentError> {
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(DocumentError::TooLarge(bytes.len() as u64));
        }
        let shape: Shape = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
        if shape.schema_version != 2 {
            return Err(DocumentError::Schema(shape.schema_version));
        }
        let image = shape.config.is_some() || shape.layers.is_some() || shape.fs_layers.is_some();
        if image && shape.manifests.is_some() {
            return Err(DocumentError::Ambiguous);
        }
        if shape.manifests.is_some() {
            if !shape.media_type.is_empty() && !media_types::is_index(&shape.media_type) {
                return Err(DocumentError::MediaType(shape.media_type));
            }
            return serde_json::from_slice(bytes).map(Document::Index).map_err(DocumentError::Json);
        }
        if !shape.media_type.is_empty() && !media_types::is_manifest(&shape.media_type) {
            return Err(DocumentError::MediaType(shape.media_type));
        }
        serde_json::from_slice(bytes)
            .map(|manifest| Document::Manifest(Box::new(manifest)))
            .map_err(DocumentError::Json)
    }

    /// The type that the document gives itself, or OCI's for its kind.
    pub fn media_type(&self) -> &str {
        let (own, default) = match self {
            Document::Manifest(manifest) => (&manifest.media_type, OCI_MANIFEST),
            Document::Index(index) => (&index.media_type, OCI_INDEX),
        };
        if own.is_empty() { default } else { own }
    }
}

/// The image configuration: how to run the image, what it is made of and how it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// GOARCH.
    #[serde(default, deserialize_with = "nullable::default")]
    pub architecture: String,
    /// Variant of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// GOOS.
    #[serde(default, deserialize_with = "nullable::default")]
    pub os: String,
    /// Version of the system (Windows only).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the system that the image needs (Windows only).
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "nullable::default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Comment of the last change.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// How to run it.
    #[serde(default, deserialize_with = "nullable::default")]
    pub config: ContainerConfig,
    /// What it is made of.
    pub rootfs: RootFs,
    /// How it was made, oldest first.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

impl ImageConfig {
    /// A configuration without layers for this platform.
    pub fn new(platform: &Platform) -> ImageConfig {
        ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            ..ImageConfig::default()
        }
    }

    /// What the image was made for.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layer tars, lowest first.
    #[serde(default, deserialize_with = "nullable::default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step of how an image was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Comment.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step changed no file, so that no layer belongs to it.
    #[serde(default, deserialize_with = "nullable::default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// How to run a container of the image, with Docker's names and extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(with = "nullable::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The fixed part of the command line.
    #[serde(deserialize_with = "words", skip_serializing_if = "none_or_empty")]
    pub entrypoint: Option<Vec<String>>,
    /// The default of the rest of the command line.
    #[serde(deserialize_with = "words", skip_serializing_if = "none_or_empty")]
    pub cmd: Option<Vec<String>>,
    /// How to probe whether the container works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The command is already escaped (Windows only).
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// Mount points of volumes.
    #[serde(with = "nullable::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Working directory.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Instructions for images that are built from this one.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops the container.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// The shell of the shell form.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub shell: Option<Vec<String>>,
}

impl ContainerConfig {
    /// The first field that has a NUL byte in it. For the kernel a text ends there: it would see another one than people do.
    pub fn field_with_nul(&self) -> Option<&'static str> {
        let bad = |text: &String| text.contains('\0');
        let any = |list: &Option<Vec<String>>| list.iter().flatten().any(bad);
        let fields = [
            ("User", bad(&self.user)),
            ("ExposedPorts", self.exposed_ports.iter().any(bad)),
            ("Env", self.env.iter().any(bad)),
            ("Entrypoint", any(&self.entrypoint)),
            ("Cmd", any(&self.cmd)),
            ("Healthcheck", self.healthcheck.iter().flat_map(|check| &check.test).any(bad)),
            ("Volumes", self.volumes.iter().any(bad)),
            ("WorkingDir", bad(&self.working_dir)),
            ("OnBuild", self.on_build.iter().any(bad)),
            ("Labels", self.labels.iter().any(|(name, value)| bad(name) || bad(value))),
            ("StopSignal", bad(&self.stop_signal)),
            ("Shell", any(&self.shell)),
        ];
        fields.into_iter().find(|(_, bad)| *bad).map(|(name, _)| name)
    }
}

/// A health check; durations are nanoseconds and 0 means "inherit".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", args…]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two probes.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long a probe may take.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long failures don't count after the start.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two probes during the start period.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row make the container unhealthy.
    #[serde(deserialize_with = "nullable::default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// A list, or one word alone, as Docker takes it.
fn words<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Option<Vec<String>>),
        One(String),
    }
    Ok(match Words::deserialize(from)? {
        Words::Many(words) => words,
        Words::One(word) => Some(vec![word]),
    })
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn none_or_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_be_two_things() {
        let both = br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(matches!(Document::parse(both), Err(DocumentError::Ambiguous)));
        let lie = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","manifests":[]}}"#);
        assert!(matches!(Document::parse(lie.as_bytes()), Err(DocumentError::MediaType(_))));
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert!(matches!(Document::parse(old), Err(DocumentError::Schema(1))));
        for bad in ["", "[]", "{}", "null", "{\"schemaVersion\":2}", &"[".repeat(100_000)] {
            assert!(Document::parse(bad.as_bytes()).is_err());
        }
        let large = vec![b' '; MANIFEST_MAX as usize + 1];
        assert!(matches!(Document::parse(&large), Err(DocumentError::TooLarge(_))));
    }

    #[test]
    fn the_index_choice_leaves_attestations_out() {
        let mut image = Descriptor::of(OCI_MANIFEST, b"image");
        image.platform = Some(Platform::new("linux", "amd64", None));
        let mut note = Descriptor::of(OCI_MANIFEST, b"note");
        note.platform = Some(Platform::new("linux", "amd64", None));
        note.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
        let index = Index::new(vec![note, image.clone()]);
        assert_eq!(index.best(&Platform::new("linux", "amd64", None)), Some(&image));
    }

    #[test]
    fn reads_an_old_configuration_and_writes_a_new_one() {
        let old = r#"{"architecture":"amd64","os":"linux","container":"abc","docker_version":"1.10",
            "config":{"Hostname":"","Tty":false,"Env":null,"Cmd":["sh"],"Entrypoint":null,"Volumes":null,
            "ExposedPorts":{"80/tcp":{}},"Labels":null,"OnBuild":[]},
            "rootfs":{"type":"layers","diff_ids":null},"history":[{"created_by":"x","empty_layer":true}]}"#;
        let config: ImageConfig = serde_json::from_str(old).unwrap();
        assert_eq!(config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
        assert!(config.config.exposed_ports.contains("80/tcp") && config.history[0].empty_layer);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            text,
            r#"{"architecture":"amd64","os":"linux","config":{"ExposedPorts":{"80/tcp":{}},"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x","empty_layer":true}]}"#
        );
        assert_eq!(serde_json::from_str::<ImageConfig>(&text).unwrap(), config);
    }

    #[test]
    fn a_nul_byte_is_found_in_every_text() {
        let found = |json: &str| serde_json::from_str::<ContainerConfig>(json).unwrap().field_with_nul();
        for (field, value) in [
            ("User", r#""a\u0000""#),
            ("Env", r#"["A=1", "B=\u0000"]"#),
            ("Entrypoint", r#"["\u0000"]"#),
            ("Cmd", r#"["a", "\u0000"]"#),
            ("Healthcheck", r#"{"Test": ["CMD", "\u0000"]}"#),
            ("Volumes", r#"{"/\u0000": {}}"#),
            ("WorkingDir", r#""/\u0000""#),
            ("OnBuild", r#"["\u0000"]"#),
            ("Labels", r#"{"a": "\u0000"}"#),
            ("StopSignal", r#""\u0000""#),
            ("Shell", r#"["\u0000"]"#),
        ] {
            assert_eq!(found(&format!("{{\"{field}\": {value}}}")), Some(field));
        }
        assert_eq!(found(r#"{"Env": ["A=1\n2"], "Labels": {"a": "b\nc"}}"#), None);
    }
}
