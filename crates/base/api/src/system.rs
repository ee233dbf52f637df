//! Documents about the machine and the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::build::CacheRecord;
use crate::json::{null_if_empty, zero};
use crate::{containers, images, volumes};

/// What `GET /_ping` says in its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ping {
    pub api_version: String,
    pub os_type: String,
    pub experimental: bool,
    /// `1` is the classic builder, `2` is BuildKit.
    pub builder_version: String,
}

document! {
    /// The answer of `GET /version`.
    pub struct Version {
        pub platform: PlatformName,
        #[serde(skip_serializing_if = "zero")]
        pub components: Vec<ComponentVersion>,
        pub version: String,
        pub api_version: String,
        #[serde(rename = "MinAPIVersion", skip_serializing_if = "zero")]
        pub min_api_version: String,
        pub git_commit: String,
        pub go_version: String,
        pub os: String,
        pub arch: String,
        #[serde(skip_serializing_if = "zero")]
        pub kernel_version: String,
        #[serde(skip_serializing_if = "zero")]
        pub experimental: bool,
        #[serde(skip_serializing_if = "zero")]
        pub build_time: String,
    }
}

document! {
    pub struct PlatformName {
        pub name: String,
    }
}

document! {
    pub struct ComponentVersion {
        pub name: String,
        pub version: String,
        #[serde(skip_serializing_if = "zero")]
        pub details: BTreeMap<String, String>,
    }
}

document! {
    /// The answer of `GET /info`.
    pub struct Info {
        #[serde(rename = "ID")]
        pub id: String,
        pub containers: i64,
        pub containers_running: i64,
        pub containers_paused: i64,
        pub containers_stopped: i64,
        pub images: i64,
        pub driver: String,
        pub driver_status: Vec<[String; 2]>,
        pub plugins: PluginsInfo,
        pub memory_limit: bool,
        pub swap_limit: bool,
        #[serde(skip_serializing_if = "zero")]
        pub kernel_memory: bool,
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "zero")]
        pub kernel_memory_tcp: bool,
        pub cpu_cfs_period: bool,
        pub cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        pub pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        pub debug: bool,
        #[serde(rename = "NFd")]
        pub n_fd: i64,
        pub oom_kill_disable: bool,
        #[serde(rename = "NGoroutines")]
        pub n_goroutines: i64,
        pub system_time: String,
        pub logging_driver: String,
        pub cgroup_driver: String,
        #[serde(skip_serializing_if = "zero")]
        pub cgroup_version: String,
        #[serde(rename = "NEventsListener")]
        pub n_events_listener: i64,
        pub kernel_version: String,
        pub operating_system: String,
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        #[serde(rename = "OSType")]
        pub os_type: String,
        pub architecture: String,
        pub index_server_address: String,
        pub registry_config: RegistryConfig,
        #[serde(rename = "NCPU")]
        pub n_cpu: i64,
        /// Bytes.
        pub mem_total: i64,
        pub generic_resources: Option<Vec<serde_json::Value>>,
        pub docker_root_dir: String,
        pub http_proxy: String,
        pub https_proxy: String,
        pub no_proxy: String,
        pub name: String,
        pub labels: Vec<String>,
        pub experimental_build: bool,
        pub server_version: String,
        pub runtimes: BTreeMap<String, Runtime>,
        pub default_runtime: String,
        pub swarm: SwarmInfo,
        pub live_restore_enabled: bool,
        pub isolation: String,
        pub init_binary: String,
        pub containerd_commit: Commit,
        pub runc_commit: Commit,
        pub init_commit: Commit,
        /// `name=seccomp,profile=builtin`.
        pub security_options: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        pub default_address_pools: Vec<AddressPool>,
        #[serde(skip_serializing_if = "zero")]
        pub firewall_backend: Option<FirewallInfo>,
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        pub discovered_devices: Vec<DeviceInfo>,
        #[serde(serialize_with = "null_if_empty")]
        pub warnings: Vec<String>,
    }
}

document! {
    /// A device that containers can be given by name.
    pub struct DeviceInfo {
        /// Who knows it: `cdi`.
        pub source: String,
        #[serde(rename = "ID")]
        pub id: String,
    }
}

document! {
    pub struct PluginsInfo {
        pub volume: Vec<String>,
        pub network: Vec<String>,
        #[serde(serialize_with = "null_if_empty")]
        pub authorization: Vec<String>,
        pub log: Vec<String>,
    }
}

document! {
    pub struct RegistryConfig {
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Vec<String>,
        pub index_configs: BTreeMap<String, IndexInfo>,
        #[serde(serialize_with = "null_if_empty")]
        pub mirrors: Vec<String>,
    }
}

document! {
    pub struct IndexInfo {
        pub name: String,
        pub mirrors: Vec<String>,
        pub secure: bool,
        pub official: bool,
    }
}

/// A program that runs containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    #[serde(skip_serializing_if = "zero")]
    pub path: String,
    #[serde(
        rename = "runtimeArgs",
        skip_serializing_if = "zero",
        deserialize_with = "crate::json::nullable"
    )]
    pub args: Vec<String>,
}

document! {
    /// Always inactive: Dhow is no Swarm node.
    pub struct SwarmInfo {
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub node_addr: String,
        pub local_node_state: String,
        pub control_available: bool,
        pub error: String,
        pub remote_managers: Option<Vec<serde_json::Value>>,
    }
}

document! {
    pub struct Commit {
        #[serde(rename = "ID")]
        pub id: String,
    }
}

document! {
    pub struct AddressPool {
        pub base: String,
        pub size: i64,
    }
}

document! {
    pub struct FirewallInfo {
        pub driver: String,
        #[serde(skip_serializing_if = "zero")]
        pub info: Vec<[String; 2]>,
    }
}

document! {
    /// The answer of `GET /system/df`. A kind that was not asked for is `null`.
    pub struct DiskUsage {
        pub layers_size: i64,
        pub images: Option<Vec<images::Summary>>,
        pub containers: Option<Vec<containers::Summary>>,
        pub volumes: Option<Vec<volumes::Volume>>,
        pub build_cache: Option<Vec<CacheRecord>>,
        /// What each byte below the root is for, where that was asked for (`dhow-disk`, ours).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub disk: Option<Vec<DiskShare>>,
    }
}

document! {
    /// A kind of what lies below the root.
    pub struct DiskShare {
        pub kind: String,
        /// The same in words.
        pub purpose: String,
        /// Files and directories.
        pub files: i64,
        /// Bytes of blocks on the disk; all together what `du` says of the root.
        pub size: i64,
    }
}

document! {
    /// What a collection took away to be within limits (`POST /system/collect`, ours).
    pub struct Collected {
        #[serde(serialize_with = "null_if_empty")]
        pub images_deleted: Vec<images::DeleteResponse>,
        /// Records of the build cache.
        pub caches_deleted: u64,
        pub space_reclaimed: u64,
        /// Bytes in use afterwards.
        pub used: u64,
        /// Bytes that are still too much: nothing else may go.
        pub lacking: u64,
    }
}

document! {
    /// The answer of `POST /auth`.
    pub struct AuthResponse {
        pub identity_token: String,
        pub status: String,
    }
}

document! {
    /// One disagreement between what is known and what is on disk or in the kernel (`POST /system/check`, ours).
    pub struct Finding {
        /// What is wrong: `blob`, `layer`, `container`, `volume`, `network`, …
        pub kind: String,
        /// Which one.
        pub object: String,
        /// What is wrong with it.
        pub message: String,
        /// Whether the check has put it right.
        pub repaired: bool,
    }
}
