//! Everything about one container.

use std::collections::BTreeMap;

use super::{Config, HostConfig, PortMap};
use crate::json::{null_if_empty, zero};
use crate::mounts::MountPoint;
use crate::networks::EndpointSettings;

document! {
    /// The answer of `GET /containers/{id}/json`.
    pub struct Inspect {
        pub id: String,
        /// RFC 3339 with nanoseconds, as all times here.
        pub created: String,
        pub path: String,
        pub args: Vec<String>,
        pub state: State,
        /// The image's id.
        pub image: String,
        pub resolv_conf_path: String,
        pub hostname_path: String,
        pub hosts_path: String,
        pub log_path: String,
        /// With a leading slash.
        pub name: String,
        pub restart_count: i64,
        pub driver: String,
        pub platform: String,
        pub mount_label: String,
        pub process_label: String,
        pub app_armor_profile: String,
        #[serde(rename = "ExecIDs", serialize_with = "null_if_empty")]
        pub exec_ids: Vec<String>,
        pub host_config: HostConfig,
        pub graph_driver: GraphDriver,
        /// Bytes of the writable layer; only when asked for.
        #[serde(skip_serializing_if = "zero")]
        pub size_rw: Option<i64>,
        /// Bytes of all layers; only when asked for.
        #[serde(skip_serializing_if = "zero")]
        pub size_root_fs: Option<i64>,
        pub mounts: Vec<MountPoint>,
        pub config: Config,
        pub network_settings: NetworkSettings,
    }
}

document! {
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        pub status: String,
        /// Also true while paused or restarting.
        pub running: bool,
        pub paused: bool,
        pub restarting: bool,
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        pub dead: bool,
        pub pid: i64,
        pub exit_code: i64,
        pub error: String,
        pub started_at: String,
        pub finished_at: String,
        #[serde(skip_serializing_if = "zero")]
        pub health: Option<Health>,
    }
}

document! {
    pub struct Health {
        /// `none`, `starting`, `healthy` or `unhealthy`.
        pub status: String,
        pub failing_streak: i64,
        /// The last few results, oldest first.
        #[serde(serialize_with = "null_if_empty")]
        pub log: Vec<HealthLog>,
    }
}

document! {
    pub struct HealthLog {
        pub start: String,
        pub end: String,
        pub exit_code: i64,
        pub output: String,
    }
}

document! {
    pub struct GraphDriver {
        #[serde(serialize_with = "null_if_empty")]
        pub data: BTreeMap<String, String>,
        pub name: String,
    }
}

document! {
    /// The networks of a container. The address fields repeat the default network's endpoint, in every API
    /// version: tools read `.NetworkSettings.IPAddress`.
    pub struct NetworkSettings {
        pub bridge: String,
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        pub sandbox_key: String,
        pub ports: PortMap,
        pub hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        pub link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        pub link_local_ipv6_prefix_len: i64,
        #[serde(rename = "SecondaryIPAddresses", serialize_with = "null_if_empty")]
        pub secondary_ip_addresses: Vec<Address>,
        #[serde(rename = "SecondaryIPv6Addresses", serialize_with = "null_if_empty")]
        pub secondary_ipv6_addresses: Vec<Address>,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        pub mac_address: String,
        /// Network name to endpoint.
        pub networks: BTreeMap<String, EndpointSettings>,
    }
}

document! {
    pub struct Address {
        pub addr: String,
        pub prefix_len: i64,
    }
}
