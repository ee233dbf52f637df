//! The document of a reading, with runc's names (its `types/events.go`): what is zero is left out where runc leaves it out.

use std::collections::BTreeMap;

use runtime::cgroup::{self, Account, BlkioEntry, MemoryEntry, Pressure, Stall};
use serde::Serialize;

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Debug, Serialize)]
pub struct Stats {
    cpu: Cpu,
    cpuset: Cpuset,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, Hugetlb>,
    intel_rdt: IntelRdt,
    /// Interfaces are made by whoever calls a runtime, which knows them better.
    network_interfaces: (),
}

#[derive(Debug, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Debug, Serialize)]
struct Psi {
    some: Share,
    full: Share,
}

#[derive(Debug, Serialize)]
struct Share {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

#[derive(Debug, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

#[derive(Debug, Serialize)]
struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    #[serde(flatten)]
    flags: BTreeMap<&'static str, i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    usage: Entry,
    swap: Entry,
    kernel: Entry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: Entry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Debug, Serialize)]
struct Entry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<Operation>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    io_queued_recursive: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Debug, Serialize)]
struct Operation {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

#[derive(Debug, Serialize)]
struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Serialize)]
struct IntelRdt {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schemata: Vec<String>,
}

impl From<MemoryEntry> for Entry {
    fn from(entry: MemoryEntry) -> Entry {
        let MemoryEntry { limit, usage, max_usage, failcnt } = entry;
        Entry { limit, usage, max: max_usage, failcnt }
    }
}

impl From<Pressure> for Psi {
    fn from(Pressure { some, full }: Pressure) -> Psi {
        let share = |Stall { avg10, avg60, avg300, total }| Share { avg10, avg60, avg300, total };
        Psi { some: share(some), full: share(full) }
    }
}

/// Operations of version 2 under the names of version 1.
fn operations(entries: Vec<BlkioEntry>) -> Vec<Operation> {
    let one = |BlkioEntry { major, minor, op, value }| {
        let op = match op.as_str() {
            "read" => "Read".to_owned(),
            "write" => "Write".to_owned(),
            _ => op,
        };
        Operation { major, minor, op, value }
    };
    entries.into_iter().map(one).collect()
}

impl Stats {
    /// `schemata` are the container's lines of resctrl.
    pub fn new(stats: cgroup::Stats, account: Account, schemata: Vec<String>) -> Stats {
        let cgroup::Stats { cpu, memory, pids, blkio, hugetlb } = stats;
        let queues = account.queues;
        let huge = |huge: cgroup::HugetlbStats| Hugetlb {
            usage: huge.usage,
            max: huge.max_usage,
            failcnt: huge.failcnt,
        };
        Stats {
            cpu: Cpu {
                usage: CpuUsage {
                    total: cpu.total,
                    percpu: cpu.per_cpu,
                    percpu_kernel: account.cpu_kernel,
                    percpu_user: account.cpu_user,
                    kernel: cpu.system,
                    user: cpu.user,
                },
                throttling: Throttling {
                    periods: cpu.periods,
                    throttled_periods: cpu.throttled_periods,
                    throttled_time: cpu.throttled_time,
                },
                psi: account.cpu_pressure.map(Psi::from),
            },
            cpuset: Cpuset {
                cpus: account.cpuset.cpus,
                mems: account.cpuset.mems,
                flags: account.cpuset.flags,
            },
            memory: Memory {
                cache: account.cache,
                usage: account.memory.into(),
                swap: account.swap.into(),
                kernel: account.kernel.into(),
                kernel_tcp: account.kernel_tcp.into(),
                raw: memory.stat,
                psi: account.memory_pressure.map(Psi::from),
            },
            pids: Pids { current: pids.current, limit: pids.limit.unwrap_or_default() },
            blkio: Blkio {
                io_service_bytes_recursive: operations(blkio.service_bytes),
                io_serviced_recursive: operations(blkio.serviced),
                io_queued_recursive: operations(queues.queued),
                io_service_time_recursive: operations(queues.service_time),
                io_wait_time_recursive: operations(queues.wait_time),
                io_merged_recursive: operations(queues.merged),
                io_time_recursive: operations(queues.time),
                sectors_recursive: operations(queues.sectors),
                psi: account.io_pressure.map(Psi::from),
            },
            hugetlb: hugetlb.into_iter().map(|(size, stats)| (size, huge(stats))).collect(),
            intel_rdt: IntelRdt { schemata },
            network_interfaces: (),
        }
    }
}
