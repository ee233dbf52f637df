//! The documents of an image archive: Docker's `manifest.json` beside an OCI layout (image-spec, image-layout.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The file that makes a directory an OCI layout.
pub(crate) const OCI_LAYOUT: &str = "oci-layout";
/// Its only content.
pub(crate) const OCI_LAYOUT_CONTENT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// What the layout has.
pub(crate) const INDEX: &str = "index.json";
/// Docker's list of images.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Docker's older list of names.
pub(crate) const REPOSITORIES: &str = "repositories";

/// The whole name of a member of the index.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// Its tag, or with some programs its whole name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One image of `manifest.json`. Paths are those of the archive.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Item {
    pub config: String,
    pub repo_tags: Option<Vec<String>>,
    /// Lowest first.
    pub layers: Vec<String>,
}

/// `repositories`: repository → tag → the top layer.
pub(crate) type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// Where those are whose digests are SHA-256 sums.
pub(crate) const BLOBS: &str = "blobs/sha256";

/// Where a blob is in a layout.
pub(crate) fn blob(digest: &oci::Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
