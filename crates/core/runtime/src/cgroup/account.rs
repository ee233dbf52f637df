//! What a control group keeps account of beside what [`super::Stats`] has: for those who want all of it. Sizes are bytes,
//! times nanoseconds; what a version or a machine has no file for is zero or empty.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::stats::BlkioEntry;
use super::{Cgroup, read, read_key};

/// One reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// By processor; version 1.
    pub cpu_kernel: Vec<u64>,
    pub cpu_user: Vec<u64>,
    /// Version 1.
    pub cpuset: Cpuset,
    pub cache: u64,
    pub memory: MemoryEntry,
    /// Memory and swap together, on version 2 too.
    pub swap: MemoryEntry,
    /// Version 1.
    pub kernel: MemoryEntry,
    pub kernel_tcp: MemoryEntry,
    pub queues: BlkioQueues,
    /// Version 2, where the kernel keeps it.
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
}

/// How much time tasks lost waiting for a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one waited.
    pub some: Stall,
    /// All waited.
    pub full: Stall,
}

/// Shares of the last seconds in per cent, and the whole in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// A counter with a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEntry {
    /// As the kernel says it; `u64::MAX` for the word `max`.
    pub limit: u64,
    pub usage: u64,
    pub max_usage: u64,
    pub failcnt: u64,
}

/// The files of the controller that binds to processors and memory nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpuset {
    pub cpus: Vec<u16>,
    pub mems: Vec<u16>,
    /// All of them, by the name of the file without `cpuset.`.
    pub flags: BTreeMap<&'static str, i64>,
}

/// What the schedulers of block devices count, where they do (version 1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkioQueues {
    pub queued: Vec<BlkioEntry>,
    pub service_time: Vec<BlkioEntry>,
    pub wait_time: Vec<BlkioEntry>,
    pub merged: Vec<BlkioEntry>,
    pub time: Vec<BlkioEntry>,
    pub sectors: Vec<BlkioEntry>,
}

const FLAGS: [&str; 9] = [
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
];

pub(super) fn account(group: &Cgroup) -> Account {
    let mut account = Account::default();
    if let Some(dir) = group.v1_dir("cpuacct") {
        (account.cpu_kernel, account.cpu_user) = per_cpu(&text(&dir, "cpuacct.usage_all"));
    }
    account.cpuset = cpuset(group.v1_dir("cpuset").as_deref());
    match (group.v1_dir("memory"), group.v2_dir()) {
        (Some(dir), _) => memory_v1(&dir, &mut account),
        (None, Some(dir)) => memory_v2(&dir, &mut account),
        _ => {}
    }
    if let Some(dir) = group.v1_dir("blkio") {
        account.queues = queues(&dir);
    }
    if let Some(dir) = group.v2_dir() {
        account.cpu_pressure = pressure(&text(&dir, "cpu.pressure"));
        account.memory_pressure = pressure(&text(&dir, "memory.pressure"));
        account.io_pressure = pressure(&text(&dir, "io.pressure"));
    }
    account
}

/// Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; nothing where the kernel was told not to count.
fn pressure(text: &str) -> Option<Pressure> {
    let stall = |whose: &str| -> Option<Stall> {
        let line = text.lines().find_map(|line| line.strip_prefix(whose)?.strip_prefix(' '))?;
        let value = |key: &str| line.split(' ').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
        let average = |key| value(key).and_then(|number| number.parse().ok()).unwrap_or_default();
        Some(Stall {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: value("total")?.parse().ok()?,
        })
    };
    Some(Pressure { some: stall("some")?, full: stall("full").unwrap_or_default() })
}

fn cpuset(dir: Option<&Path>) -> Cpuset {
    let text = |file: &str| dir.map(|dir| text(dir, &format!("cpuset.{file}"))).unwrap_or_default();
    let flag = |flag| (flag, text(flag).trim().parse().unwrap_or_default());
    Cpuset { cpus: list(&text("cpus")), mems: list(&text("mems")), flags: FLAGS.map(flag).into() }
}

fn text(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

fn number<T: std::str::FromStr + Default>(dir: &Path, file: &str) -> T {
    text(dir, file).trim().parse().unwrap_or_default()
}

/// Lines of `cpu user system` below a headline.
fn per_cpu(all: &str) -> (Vec<u64>, Vec<u64>) {
    let row = |line: &str| {
        let mut fields = line.split(' ').skip(1).map(str::parse::<u64>);
        let user = fields.next()?.ok()?;
        Some((fields.next()?.ok()?, user))
    };
    all.lines().filter_map(row).unzip()
}

/// `0-2,7`.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn memory_v1(dir: &Path, account: &mut Account) {
    let entry = |counter: &str| MemoryEntry {
        limit: number(dir, &format!("{counter}.limit_in_bytes")),
        usage: number(dir, &format!("{counter}.usage_in_bytes")),
        max_usage: number(dir, &format!("{counter}.max_usage_in_bytes")),
        failcnt: number(dir, &format!("{counter}.failcnt")),
    };
    account.cache = read_key(&text(dir, "memory.stat"), "cache").unwrap_or_default();
    account.memory = entry("memory");
    account.swap = entry("memory.memsw");
    account.kernel = entry("memory.kmem");
    account.kernel_tcp = entry("memory.kmem.tcp");
}

fn memory_v2(dir: &Path, account: &mut Account) {
    let entry = |counter: &str| {
        let limit = text(dir, &format!("{counter}.max"));
        let events = text(dir, &format!("{counter}.events"));
        MemoryEntry {
            limit: if limit.trim() == "max" { u64::MAX } else { limit.trim().parse().unwrap_or_default() },
            usage: number(dir, &format!("{counter}.current")),
            max_usage: number(dir, &format!("{counter}.peak")),
            failcnt: read_key(&events, "max").unwrap_or_default(),
        }
    };
    account.cache = read_key(&text(dir, "memory.stat"), "file").unwrap_or_default();
    let (memory, swap) = (entry("memory"), entry("memory.swap"));
    account.memory = memory;
    // The two peaks need not have been at the same time.
    account.swap = MemoryEntry {
        limit: if swap.limit == u64::MAX { u64::MAX } else { swap.limit.saturating_add(memory.limit) },
        usage: swap.usage.saturating_add(memory.usage),
        max_usage: 0,
        failcnt: swap.failcnt,
    };
}

fn queues(dir: &Path) -> BlkioQueues {
    let read = |name: &str| {
        let ours = text(dir, &format!("blkio.bfq.{name}_recursive"));
        let ours = if ours.is_empty() { text(dir, &format!("blkio.{name}_recursive")) } else { ours };
        read::blkio_v1(&ours)
    };
    BlkioQueues {
        queued: read("io_queued"),
        service_time: read("io_service_time"),
        wait_time: read("io_wait_time"),
        merged: read("io_merged"),
        time: read("time"),
        sectors: read("sectors"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_version_1() {
        assert_eq!(per_cpu("cpu user system\n0 5 6\n1 7 8\n"), (vec![6, 8], vec![5, 7]));
        assert_eq!(list("0-2,7\n"), [0, 1, 2, 7]);
        assert!(list("\n").is_empty());
    }

    #[test]
    fn pressure_is_read_where_it_is_kept() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let found = pressure(text).unwrap();
        assert_eq!((found.some.avg10, found.some.avg60, found.some.total), (1.5, 0.25, 77));
        assert_eq!(found.full.total, 5);
        assert_eq!(
            pressure(text.lines().next().unwrap()).unwrap().full,
            Stall::default(),
            "processors before 5.13"
        );
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn version_2_counts_swap_alone_and_we_count_it_together() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("memory.max", "100\n"),
            ("memory.current", "10\n"),
            ("memory.peak", "50\n"),
            ("memory.events", "low 0\nmax 3\n"),
            ("memory.swap.max", "20\n"),
            ("memory.swap.current", "4\n"),
            ("memory.stat", "anon 1\nfile 9\n"),
        ];
        for (file, text) in files {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let mut account = Account::default();
        memory_v2(dir.path(), &mut account);
        assert_eq!(account.memory, MemoryEntry { limit: 100, usage: 10, max_usage: 50, failcnt: 3 });
        assert_eq!((account.swap.limit, account.swap.usage, account.cache), (120, 14, 9));
        fs::write(dir.path().join("memory.swap.max"), "max\n").unwrap();
        memory_v2(dir.path(), &mut account);
        assert_eq!(account.swap.limit, u64::MAX);
    }
}
