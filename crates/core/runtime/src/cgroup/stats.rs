//! What a control group has used. Times are nanoseconds, sizes bytes; a controller that is missing leaves
//! zeros.

use std::collections::BTreeMap;

/// One reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    pub blkio: BlkioStats,
    /// By page size as the kernel spells it (`2MB`).
    pub hugetlb: BTreeMap<String, HugetlbStats>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    pub total: u64,
    pub user: u64,
    pub system: u64,
    /// Version 1 only; empty on version 2.
    pub per_cpu: Vec<u64>,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    pub usage: u64,
    /// Zero where the kernel doesn't keep it.
    pub max_usage: u64,
    /// `None` is unlimited.
    pub limit: Option<u64>,
    pub failcnt: u64,
    /// Memory and swap together on version 1, swap alone on version 2.
    pub swap_usage: u64,
    /// `memory.stat` as it is.
    pub stat: BTreeMap<String, u64>,
    pub oom_kills: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    pub current: u64,
    /// `None` is unlimited.
    pub limit: Option<u64>,
}

/// Per device and operation (`Read`, `Write`, …).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkioStats {
    pub service_bytes: Vec<BlkioEntry>,
    pub serviced: Vec<BlkioEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    pub op: String,
    pub value: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugetlbStats {
    pub usage: u64,
    pub max_usage: u64,
    pub failcnt: u64,
}
