//! The short documents of containers: list lines, top, wait, changes, prune.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{null_if_empty, zero};
use crate::mounts::MountPoint;
use crate::networks::EndpointSettings;

document! {
    /// A line of `GET /containers/json`.
    pub struct Summary {
        pub id: String,
        /// Each with a leading slash.
        pub names: Vec<String>,
        /// The image as the user named it.
        pub image: String,
        #[serde(rename = "ImageID")]
        pub image_id: String,
        pub command: String,
        /// Unix seconds.
        pub created: i64,
        pub ports: Vec<SummaryPort>,
        #[serde(skip_serializing_if = "zero")]
        pub size_rw: i64,
        #[serde(skip_serializing_if = "zero")]
        pub size_root_fs: i64,
        pub labels: BTreeMap<String, String>,
        /// `running`, see [`super::State`].
        pub state: String,
        /// For people: `Up 5 minutes (healthy)`.
        pub status: String,
        pub host_config: SummaryHostConfig,
        pub network_settings: SummaryNetworkSettings,
        pub mounts: Vec<MountPoint>,
    }
}

document! {
    pub struct SummaryPort {
        #[serde(rename = "IP", skip_serializing_if = "zero")]
        pub ip: String,
        pub private_port: u16,
        /// Zero when the port is not published.
        #[serde(skip_serializing_if = "zero")]
        pub public_port: u16,
        /// `tcp`, `udp` or `sctp`.
        #[serde(rename = "Type")]
        pub typ: String,
    }
}

document! {
    pub struct SummaryHostConfig {
        #[serde(skip_serializing_if = "zero")]
        pub network_mode: String,
        #[serde(skip_serializing_if = "zero")]
        pub annotations: BTreeMap<String, String>,
    }
}

document! {
    pub struct SummaryNetworkSettings {
        pub networks: BTreeMap<String, EndpointSettings>,
    }
}

document! {
    pub struct TopResponse {
        pub processes: Vec<Vec<String>>,
        pub titles: Vec<String>,
    }
}

document! {
    pub struct WaitResponse {
        #[serde(skip_serializing_if = "zero")]
        pub error: Option<WaitError>,
        pub status_code: i64,
    }
}

document! {
    pub struct WaitError {
        #[serde(skip_serializing_if = "zero")]
        pub message: String,
    }
}

document! {
    /// One path of `GET /containers/{id}/changes`.
    pub struct Change {
        pub path: String,
        pub kind: ChangeKind,
    }
}

/// What happened to a path; a number on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum ChangeKind {
    #[default]
    Modified,
    Added,
    Deleted,
}

impl From<ChangeKind> for u8 {
    fn from(kind: ChangeKind) -> u8 {
        match kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        }
    }
}

impl TryFrom<u8> for ChangeKind {
    type Error = String;
    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Modified),
            1 => Ok(Self::Added),
            2 => Ok(Self::Deleted),
            _ => Err(format!("unknown kind of change {number}")),
        }
    }
}

document! {
    pub struct PruneReport {
        #[serde(serialize_with = "null_if_empty")]
        pub containers_deleted: Vec<String>,
        pub space_reclaimed: u64,
    }
}
