//! Documents of images.

use std::collections::BTreeMap;

use oci::image::ContainerConfig;

use crate::containers::{Config, GraphDriver};
use crate::filters::Filters;
use crate::json::{null_if_empty, zero};

document! {
    /// A line of `GET /images/json`. Counts of -1 were not computed.
    pub struct Summary {
        pub containers: i64,
        /// Unix seconds.
        pub created: i64,
        /// The digest of the image's configuration.
        pub id: String,
        #[serde(serialize_with = "null_if_empty")]
        pub labels: BTreeMap<String, String>,
        pub parent_id: String,
        pub repo_digests: Vec<String>,
        pub repo_tags: Vec<String>,
        pub shared_size: i64,
        /// Bytes of the unpacked layers.
        pub size: i64,
        /// Same as size; API 1.43 and older.
        #[serde(skip_serializing_if = "zero")]
        pub virtual_size: i64,
        /// What its name stands for: an index, or a manifest; with the manifests only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<oci::image::Descriptor>,
        /// All that its names stand for, where that was asked for; the size is then that of all of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub manifests: Option<Vec<ManifestSummary>>,
    }
}

document! {
    /// A manifest that a name of an image stands for, or leads to by an index.
    pub struct ManifestSummary {
        /// Its digest.
        pub id: String,
        pub descriptor: Option<oci::image::Descriptor>,
        /// Whether all of it is here.
        pub available: bool,
        pub size: ManifestSize,
        /// `image`, `attestation`, or `unknown`.
        pub kind: String,
        /// Of an image.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_data: Option<ImageProperties>,
        /// Of an attestation.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub attestation_data: Option<AttestationProperties>,
    }
}

document! {
    /// Bytes that are here of a manifest.
    pub struct ManifestSize {
        /// Of its blobs, itself among them.
        pub content: i64,
        /// And of its unpacked layers.
        pub total: i64,
    }
}

document! {
    pub struct ImageProperties {
        pub platform: Option<oci::Platform>,
        pub size: UnpackedSize,
        /// Ids of the containers that were made from it.
        pub containers: Vec<String>,
    }
}

document! {
    pub struct UnpackedSize {
        pub unpacked: i64,
    }
}

document! {
    pub struct AttestationProperties {
        /// Digest of the manifest that it speaks of.
        #[serde(rename = "For")]
        pub subject: String,
    }
}

document! {
    /// The answer of `GET /images/{name}/json`.
    pub struct Inspect {
        pub id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        pub parent: String,
        pub comment: String,
        /// RFC 3339.
        #[serde(skip_serializing_if = "zero")]
        pub created: String,
        pub docker_version: String,
        pub author: String,
        /// Which container it was made from, and how that ran: always empty here; API 1.44 and older.
        #[serde(skip_serializing_if = "zero")]
        pub container: Option<String>,
        #[serde(skip_serializing_if = "zero")]
        pub container_config: Option<Config>,
        /// How a container of the image runs.
        pub config: Option<ContainerConfig>,
        pub architecture: String,
        #[serde(skip_serializing_if = "zero")]
        pub variant: String,
        pub os: String,
        #[serde(skip_serializing_if = "zero")]
        pub os_version: String,
        pub size: i64,
        /// Same as size; API 1.43 and older.
        #[serde(skip_serializing_if = "zero")]
        pub virtual_size: i64,
        pub graph_driver: GraphDriver,
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        pub metadata: Metadata,
    }
}

document! {
    pub struct RootFs {
        #[serde(rename = "Type", skip_serializing_if = "zero")]
        pub typ: String,
        /// Diff ids, base first.
        #[serde(skip_serializing_if = "zero")]
        pub layers: Vec<String>,
    }
}

document! {
    pub struct Metadata {
        /// RFC 3339; Go's zero time when the image never had a tag here.
        pub last_tag_time: String,
    }
}

document! {
    /// One line of `GET /images/{name}/history`, newest first.
    pub struct HistoryItem {
        pub comment: String,
        /// Unix seconds.
        pub created: i64,
        pub created_by: String,
        /// `<missing>` but for the newest.
        pub id: String,
        pub size: i64,
        #[serde(serialize_with = "null_if_empty")]
        pub tags: Vec<String>,
    }
}

document! {
    /// One thing that a removal did.
    pub struct DeleteResponse {
        #[serde(skip_serializing_if = "zero")]
        pub deleted: String,
        #[serde(skip_serializing_if = "zero")]
        pub untagged: String,
    }
}

document! {
    pub struct PruneReport {
        #[serde(serialize_with = "null_if_empty")]
        pub images_deleted: Vec<DeleteResponse>,
        pub space_reclaimed: u64,
    }
}

/// One hit of `GET /images/search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SearchResult {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    pub is_automated: bool,
    pub description: String,
}

/// `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Also images without a name that others build on.
    pub all: bool,
    pub digests: bool,
    pub shared_size: bool,
    /// With all that the names stand for.
    pub manifests: bool,
    pub filters: Filters,
}

/// `DELETE /images/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    pub force: bool,
    /// Leaves untagged parents.
    pub no_prune: bool,
    /// Platforms as OCI JSON; empty is all.
    pub platforms: Vec<String>,
}

/// `POST /images/create` with `fromImage`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullOptions {
    pub from_image: String,
    /// A tag or digest; may be part of `from_image`.
    pub tag: String,
    /// `linux/arm64`; empty is this machine's.
    pub platform: String,
    /// With what is attached to it (`dhow-attached`, ours).
    pub attached: bool,
}

/// `POST /images/create` with `fromSrc`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// `-` takes the request's body.
    pub from_src: String,
    pub repo: String,
    pub tag: String,
    pub message: String,
    /// Dockerfile instructions for the image's configuration.
    pub changes: Vec<String>,
    pub platform: String,
}

document! {
    /// `GET /distribution/{name}/json`.
    pub struct Distribution {
        pub descriptor: Option<oci::image::Descriptor>,
        pub platforms: Vec<oci::Platform>,
    }
}

document! {
    /// An image or an index as its registry has it.
    pub struct RemoteImage {
        /// With everything that was left out.
        pub name: String,
        pub descriptor: Option<oci::image::Descriptor>,
        /// The document itself, byte for byte.
        pub raw: String,
        /// The configurations by platform, if they were asked for.
        #[serde(skip_serializing_if = "zero")]
        pub images: std::collections::BTreeMap<String, serde_json::Value>,
        /// What is attested of them by platform, as in-toto statements, likewise.
        #[serde(skip_serializing_if = "zero")]
        pub attestations: std::collections::BTreeMap<String, Vec<serde_json::Value>>,
        /// Manifests that were brought to the registry with it.
        #[serde(skip_serializing_if = "zero")]
        pub copied: Vec<oci::Digest>,
    }
}

document! {
    /// What a build would be based on: of an image that is here, or of what its registry has.
    pub struct BaseImage {
        pub config: Option<oci::image::ImageConfig>,
        /// The server's machine can run its programs.
        pub runs: bool,
    }
}

/// How an image is looked at in its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Its configurations and what is attested of it, too.
    pub details: bool,
    /// Without encryption, or with a certificate that nobody vouches for, if there is no other way.
    pub insecure: bool,
}

document! {
    /// What the lines of an index say of its members.
    pub struct MemberAnnotation {
        /// Of the member for this platform; of all without.
        #[serde(skip_serializing_if = "zero")]
        pub platform: String,
        pub key: String,
        pub value: String,
    }
}

document! {
    /// Which index is to be made in a registry.
    pub struct NewIndex {
        pub targets: Vec<String>,
        pub sources: Vec<String>,
        /// It gets the target's members too.
        pub append: bool,
        pub annotations: std::collections::BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub member_annotations: Vec<MemberAnnotation>,
        /// Only members for these platforms; all without.
        #[serde(skip_serializing_if = "zero")]
        pub platforms: Vec<String>,
        /// A single manifest stays one.
        pub plain: bool,
        /// What is attached to what is copied stays where it is.
        #[serde(skip_serializing_if = "zero")]
        pub without_attached: bool,
        pub dry_run: bool,
        /// The index itself, as the client has written it; the sources only say where its members are.
        #[serde(skip_serializing_if = "zero")]
        pub document: String,
        /// As [`RemoteOptions::insecure`].
        #[serde(skip_serializing_if = "zero")]
        pub insecure: bool,
    }
}

/// How the files of an image are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentsOptions {
    /// Of an image for several platforms, this one's.
    pub platform: String,
    /// As its registry has it, whether or not it is here too.
    pub remote: bool,
    /// Each file is listed.
    pub files: bool,
}

document! {
    /// An image's layers with their files.
    pub struct ImageTree {
        pub name: String,
        pub id: Option<oci::Digest>,
        pub platform: String,
        /// Bytes of the files of all layers.
        pub size: u64,
        /// Bytes of files that a later layer replaces or removes.
        pub wasted: u64,
        /// The share of `size` that is not wasted, 0 to 1.
        pub efficiency: f64,
        /// Lowest first.
        pub layers: Vec<TreeLayer>,
        /// Paths with wasted bytes, the most first.
        pub waste: Vec<WastedPath>,
    }
}

document! {
    /// One layer.
    pub struct TreeLayer {
        /// Of its archive: in a registry the one that is there, here that of the unpacked one.
        pub digest: String,
        pub diff_id: String,
        /// The instruction that made it.
        pub created_by: String,
        /// Bytes of its files.
        pub size: u64,
        /// Bytes of its archive in the registry, or of the one that is kept here; 0 if none is.
        pub compressed: u64,
        /// Files and links, but no directories.
        pub files: u64,
        pub added: u64,
        pub changed: u64,
        /// Of layers below.
        pub removed: u64,
        /// Bytes of its files that a later layer replaces or removes.
        pub wasted: u64,
        /// The files, if they were asked for.
        #[serde(skip_serializing_if = "zero")]
        pub list: Vec<LayerFile>,
    }
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FileChange {
    #[default]
    Added,
    Changed,
    Removed,
}

document! {
    /// A file of a layer.
    pub struct LayerFile {
        pub path: String,
        pub change: FileChange,
        pub size: u64,
    }
}

document! {
    /// A path whose bytes are in a layer and are not seen.
    pub struct WastedPath {
        pub path: String,
        pub bytes: u64,
        /// How many layers have it in vain.
        pub times: u64,
        /// In the end there is nothing there.
        pub removed: bool,
    }
}

document! {
    /// What two images have that the other has not, or has otherwise. Pairs are of the first and the second.
    pub struct ImageDifference {
        pub names: Vec<String>,
        pub ids: Vec<oci::Digest>,
        /// Bytes of the files that are seen.
        pub sizes: Vec<u64>,
        pub layers: Vec<usize>,
        /// Layers that both have, from the lowest on.
        pub shared_layers: usize,
        pub config: Vec<ConfigDifference>,
        pub files: Vec<FileDifference>,
    }
}

document! {
    /// A setting that differs.
    pub struct ConfigDifference {
        /// Such as `Cmd` or `Env.PATH`.
        pub name: String,
        pub before: Option<String>,
        pub after: Option<String>,
    }
}

document! {
    /// A path that differs.
    pub struct FileDifference {
        pub path: String,
        pub change: FileChange,
        pub sizes: Vec<u64>,
        /// Of a changed one: `type`, `content`, `links`, `mode`, `owner`.
        #[serde(skip_serializing_if = "zero")]
        pub what: Vec<String>,
    }
}

document! {
    /// A signature of an image: a signed payload, or a bundle that has both in it.
    pub struct SignedStatement {
        /// What is signed, in base64.
        #[serde(skip_serializing_if = "zero")]
        pub payload: String,
        /// The signature of the payload, in base64.
        #[serde(skip_serializing_if = "zero")]
        pub signature: String,
        /// Sigstore's bundle, a JSON document.
        #[serde(skip_serializing_if = "zero")]
        pub bundle: String,
    }
}

document! {
    /// What is signed of an image in its registry.
    pub struct Signatures {
        pub name: String,
        pub digest: Option<oci::Digest>,
        pub statements: Vec<SignedStatement>,
    }
}

document! {
    /// A signature to be put beside an image in its registry.
    pub struct NewSignature {
        pub name: String,
        pub payload: String,
        pub signature: String,
        pub insecure: bool,
    }
}

document! {
    /// A file of an artifact.
    pub struct ArtifactFile {
        pub name: String,
        pub media_type: String,
        /// In base64.
        pub content: String,
    }
}

document! {
    /// Something to be attached to an image in its registry.
    pub struct NewArtifact {
        pub name: String,
        /// What it is, as a media type.
        pub artifact_type: String,
        pub annotations: BTreeMap<String, String>,
        pub files: Vec<ArtifactFile>,
        pub insecure: bool,
    }
}
