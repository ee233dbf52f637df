//! How a container meets this machine: the half of a create request that is not portable.

use std::collections::BTreeMap;

use crate::json::{StrSlice, null_if_empty, zero};
use crate::mounts::Mount;

/// Container port (`80/tcp`) to its host addresses; `None` is a port that is exposed but not published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

document! {
    pub struct PortBinding {
        #[serde(rename = "HostIp")]
        pub host_ip: String,
        /// A number, a range `8000-8010`, or empty for any free port.
        pub host_port: String,
    }
}

document! {
    /// The machine's side of a container.
    pub struct HostConfig {
        /// `-v` in its source form: `src:dst[:options]`.
        #[serde(serialize_with = "null_if_empty")]
        pub binds: Vec<String>,
        #[serde(rename = "ContainerIDFile")]
        pub container_id_file: String,
        pub log_config: LogConfig,
        /// `default`, `bridge`, `host`, `none`, `container:<id>` or a network's name.
        pub network_mode: String,
        pub port_bindings: PortMap,
        pub restart_policy: RestartPolicy,
        pub auto_remove: bool,
        pub volume_driver: String,
        #[serde(serialize_with = "null_if_empty")]
        pub volumes_from: Vec<String>,
        /// Height and width of the terminal at the start.
        pub console_size: [u32; 2],
        #[serde(skip_serializing_if = "zero")]
        pub annotations: BTreeMap<String, String>,
        pub cap_add: StrSlice,
        pub cap_drop: StrSlice,
        /// `private`, `host` or empty.
        pub cgroupns_mode: String,
        pub dns: Vec<String>,
        pub dns_options: Vec<String>,
        pub dns_search: Vec<String>,
        #[serde(serialize_with = "null_if_empty")]
        pub extra_hosts: Vec<String>,
        #[serde(serialize_with = "null_if_empty")]
        pub group_add: Vec<String>,
        pub ipc_mode: String,
        pub cgroup: String,
        #[serde(serialize_with = "null_if_empty")]
        pub links: Vec<String>,
        pub oom_score_adj: i64,
        pub pid_mode: String,
        pub privileged: bool,
        pub publish_all_ports: bool,
        pub readonly_rootfs: bool,
        #[serde(serialize_with = "null_if_empty")]
        pub security_opt: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        pub storage_opt: BTreeMap<String, String>,
        /// Mount point to mount options.
        #[serde(skip_serializing_if = "zero")]
        pub tmpfs: BTreeMap<String, String>,
        #[serde(rename = "UTSMode")]
        pub uts_mode: String,
        pub userns_mode: String,
        /// Bytes of /dev/shm; zero is the default of 64 MiB.
        pub shm_size: i64,
        #[serde(skip_serializing_if = "zero")]
        pub sysctls: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub runtime: String,
        pub isolation: String,
    }
    flatten {
        pub resources: Resources,
    }
    {
        #[serde(skip_serializing_if = "zero")]
        pub mounts: Vec<Mount>,
        /// Absent takes the default list, empty masks nothing.
        pub masked_paths: Option<Vec<String>>,
        /// Absent takes the default list, empty leaves all writable.
        pub readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "zero")]
        pub init: Option<bool>,
    }
}

document! {
    pub struct LogConfig {
        #[serde(rename = "Type")]
        pub typ: String,
        pub config: BTreeMap<String, String>,
    }
}

document! {
    pub struct RestartPolicy {
        /// Empty or `no`, `always`, `unless-stopped`, `on-failure`.
        pub name: String,
        pub maximum_retry_count: i64,
    }
}

document! {
    /// Limits on what a container may use.
    pub struct Resources {
        pub cpu_shares: i64,
        /// Bytes.
        pub memory: i64,
        /// CPUs in units of 10^-9.
        pub nano_cpus: i64,
        pub cgroup_parent: String,
        pub blkio_weight: u16,
        pub blkio_weight_device: Vec<WeightDevice>,
        pub blkio_device_read_bps: Vec<ThrottleDevice>,
        pub blkio_device_write_bps: Vec<ThrottleDevice>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: Vec<ThrottleDevice>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: Vec<ThrottleDevice>,
        /// Microseconds.
        pub cpu_period: i64,
        /// Microseconds a period.
        pub cpu_quota: i64,
        pub cpu_realtime_period: i64,
        pub cpu_realtime_runtime: i64,
        pub cpuset_cpus: String,
        pub cpuset_mems: String,
        pub devices: Vec<DeviceMapping>,
        #[serde(serialize_with = "null_if_empty")]
        pub device_cgroup_rules: Vec<String>,
        #[serde(serialize_with = "null_if_empty")]
        pub device_requests: Vec<DeviceRequest>,
        #[serde(skip_serializing_if = "zero")]
        pub kernel_memory: i64,
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "zero")]
        pub kernel_memory_tcp: i64,
        /// Bytes.
        pub memory_reservation: i64,
        /// Memory and swap together in bytes; -1 is without limit.
        pub memory_swap: i64,
        pub memory_swappiness: Option<i64>,
        pub oom_kill_disable: Option<bool>,
        /// Zero or less is without limit; absent leaves it as it is.
        pub pids_limit: Option<i64>,
        pub ulimits: Vec<Ulimit>,
        pub cpu_count: i64,
        pub cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        pub io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        pub io_maximum_bandwidth: u64,
    }
}

document! {
    pub struct WeightDevice {
        pub path: String,
        pub weight: u16,
    }
}

document! {
    pub struct ThrottleDevice {
        pub path: String,
        pub rate: u64,
    }
}

document! {
    pub struct DeviceMapping {
        pub path_on_host: String,
        pub path_in_container: String,
        /// Of `r`, `w` and `m`.
        pub cgroup_permissions: String,
    }
}

document! {
    /// A request for devices by capability, such as `--gpus`.
    pub struct DeviceRequest {
        pub driver: String,
        /// -1 is all.
        pub count: i64,
        #[serde(rename = "DeviceIDs", serialize_with = "null_if_empty")]
        pub device_ids: Vec<String>,
        #[serde(serialize_with = "null_if_empty")]
        pub capabilities: Vec<Vec<String>>,
        pub options: BTreeMap<String, String>,
    }
}

/// The limits of `--ulimit`, by Docker's names.
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

document! {
    pub struct Ulimit {
        pub name: String,
        pub hard: i64,
        pub soft: i64,
    }
}

document! {
    /// The body of `POST /containers/{id}/update`; zero fields stay as they are.
    pub struct UpdateRequest {}
    flatten {
        pub resources: Resources,
    }
    {
        pub restart_policy: RestartPolicy,
    }
}

document! {
    pub struct UpdateResponse {
        pub warnings: Vec<String>,
    }
}
