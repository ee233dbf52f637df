//! Documents of volumes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json::{null_if_empty, zero};

document! {
    pub struct Volume {
        /// RFC 3339.
        #[serde(skip_serializing_if = "zero")]
        pub created_at: String,
        pub driver: String,
        #[serde(serialize_with = "null_if_empty")]
        pub labels: BTreeMap<String, String>,
        pub mountpoint: String,
        pub name: String,
        #[serde(serialize_with = "null_if_empty")]
        pub options: BTreeMap<String, String>,
        pub scope: String,
        #[serde(skip_serializing_if = "zero")]
        pub status: BTreeMap<String, Value>,
        /// Only in `GET /system/df`.
        #[serde(skip_serializing_if = "zero")]
        pub usage_data: Option<UsageData>,
    }
}

document! {
    /// -1 is unknown.
    pub struct UsageData {
        pub ref_count: i64,
        pub size: i64,
    }
}

document! {
    pub struct ListResponse {
        pub volumes: Vec<Volume>,
        #[serde(serialize_with = "null_if_empty")]
        pub warnings: Vec<String>,
    }
}

document! {
    /// The body of `POST /volumes/create`. An empty name gets a random one.
    pub struct CreateRequest {
        #[serde(skip_serializing_if = "zero")]
        pub driver: String,
        #[serde(skip_serializing_if = "zero")]
        pub driver_opts: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub name: String,
    }
}

document! {
    pub struct PruneReport {
        #[serde(serialize_with = "null_if_empty")]
        pub volumes_deleted: Vec<String>,
        pub space_reclaimed: u64,
    }
}
