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
    }
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
        pub dry_run: bool,
    }
}
