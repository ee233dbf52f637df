//! Mounts as a client asks for them (`--mount`) and as a container reports them.

use std::collections::BTreeMap;

use crate::json::zero;

document! {
    /// One `--mount` of a create request.
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe` or `cluster`.
        #[serde(rename = "Type", skip_serializing_if = "zero")]
        pub typ: String,
        #[serde(skip_serializing_if = "zero")]
        pub source: String,
        #[serde(skip_serializing_if = "zero")]
        pub target: String,
        #[serde(skip_serializing_if = "zero")]
        pub read_only: bool,
        #[serde(skip_serializing_if = "zero")]
        pub consistency: String,
        #[serde(skip_serializing_if = "zero")]
        pub bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "zero")]
        pub volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "zero")]
        pub image_options: Option<ImageOptions>,
        #[serde(skip_serializing_if = "zero")]
        pub tmpfs_options: Option<TmpfsOptions>,
    }
}

document! {
    pub struct BindOptions {
        /// `rprivate`, `private`, `rshared`, `shared`, `rslave` or `slave`; empty is `rprivate`.
        #[serde(skip_serializing_if = "zero")]
        pub propagation: String,
        #[serde(skip_serializing_if = "zero")]
        pub non_recursive: bool,
        /// Makes a missing source directory, as `-v` does.
        #[serde(skip_serializing_if = "zero")]
        pub create_mountpoint: bool,
        #[serde(skip_serializing_if = "zero")]
        pub read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "zero")]
        pub read_only_force_recursive: bool,
    }
}

document! {
    pub struct VolumeOptions {
        /// Leaves out the copy of the image's content into a new volume.
        #[serde(skip_serializing_if = "zero")]
        pub no_copy: bool,
        #[serde(skip_serializing_if = "zero")]
        pub labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub subpath: String,
        #[serde(skip_serializing_if = "zero")]
        pub driver_config: Option<Driver>,
    }
}

document! {
    pub struct ImageOptions {
        #[serde(skip_serializing_if = "zero")]
        pub subpath: String,
    }
}

document! {
    pub struct TmpfsOptions {
        /// Bytes; zero is without limit.
        #[serde(skip_serializing_if = "zero")]
        pub size_bytes: i64,
        /// Go file mode bits; the low nine are those of Unix.
        #[serde(skip_serializing_if = "zero")]
        pub mode: u32,
        /// `[["noexec"],["uid","1"]]`: a flag or a key with its value.
        #[serde(skip_serializing_if = "zero")]
        pub options: Vec<Vec<String>>,
    }
}

document! {
    pub struct Driver {
        #[serde(skip_serializing_if = "zero")]
        pub name: String,
        #[serde(skip_serializing_if = "zero")]
        pub options: BTreeMap<String, String>,
    }
}

document! {
    /// A mount that a container has.
    pub struct MountPoint {
        #[serde(rename = "Type", skip_serializing_if = "zero")]
        pub typ: String,
        /// The volume's name.
        #[serde(skip_serializing_if = "zero")]
        pub name: String,
        pub source: String,
        pub destination: String,
        /// The volume's driver.
        #[serde(skip_serializing_if = "zero")]
        pub driver: String,
        /// The option part of `-v`: `z`, `ro`, …
        pub mode: String,
        #[serde(rename = "RW")]
        pub rw: bool,
        pub propagation: String,
    }
}
