//! Documents of containers. The request side is [`CreateRequest`] and [`UpdateRequest`], the reporting side
//! [`Inspect`] and [`Summary`]; the option structs are the query parameters of each operation.

mod archive;
mod config;
mod host_config;
mod inspect;
mod options;
mod stats;
mod summary;

pub use archive::{PathStat, PathStatError, go_mode, unix_mode};
pub use config::{Config, CreateRequest, CreateResponse, HealthConfig};
pub use host_config::{
    DeviceMapping, DeviceRequest, HostConfig, LogConfig, PortBinding, PortMap, Resources, RestartPolicy,
    ThrottleDevice, ULIMITS, Ulimit, UpdateRequest, UpdateResponse, WeightDevice,
};
pub use inspect::{Address, GraphDriver, Health, HealthLog, Inspect, NetworkSettings, State};
pub use options::{
    ArchivePutOptions, AttachOptions, CommitOptions, ListOptions, LogsOptions, RemoveOptions, StatsOptions,
    StopOptions, WaitCondition,
};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, StorageStats,
    ThrottlingData,
};
pub use summary::{
    Change, ChangeKind, PruneReport, Summary, SummaryHostConfig, SummaryNetworkSettings, SummaryPort,
    TopResponse, WaitError, WaitResponse,
};

pub use crate::json::{NameSet, StrSlice};
