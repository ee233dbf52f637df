//! Reading what a group has used, from the files of either version.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::stats::{BlkioEntry, BlkioStats, CpuStats, HugetlbStats, MemoryStats, PidsStats, Stats};
use super::{Cgroup, read_key};

/// Version 1 reports clock ticks (USER_HZ) for user and system time: a hundredth of a second on every
/// architecture of ours.
const TICK: u64 = 10_000_000;

pub(super) fn stats(group: &Cgroup) -> Stats {
    let v2 = group.v2_dir();
    Stats {
        cpu: match (group.v1_dir("cpuacct"), &v2) {
            (Some(accounting), _) => cpu_v1(&accounting, group.v1_dir("cpu").as_deref()),
            (None, Some(dir)) => cpu_v2(&text(dir, "cpu.stat")),
            _ => CpuStats::default(),
        },
        memory: match (group.v1_dir("memory"), &v2) {
            (Some(dir), _) => memory_v1(&dir),
            (None, Some(dir)) => memory_v2(dir),
            _ => MemoryStats::default(),
        },
        pids: match group.v1_dir("pids").as_ref().or(v2.as_ref()) {
            Some(dir) => PidsStats {
                current: number(dir, "pids.current").unwrap_or_default(),
                limit: number(dir, "pids.max"),
            },
            None => PidsStats::default(),
        },
        blkio: match (group.v1_dir("blkio"), &v2) {
            (Some(dir), _) => BlkioStats {
                service_bytes: blkio_v1(&text(&dir, "blkio.throttle.io_service_bytes_recursive")),
                serviced: blkio_v1(&text(&dir, "blkio.throttle.io_serviced_recursive")),
            },
            (None, Some(dir)) => io_v2(&text(dir, "io.stat")),
            _ => BlkioStats::default(),
        },
        hugetlb: match (group.v1_dir("hugetlb"), &v2) {
            (Some(dir), _) => hugetlb_v1(&dir),
            (None, Some(dir)) => hugetlb_v2(dir),
            _ => BTreeMap::new(),
        },
    }
}

fn text(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

/// `max` and what is not there are `None`.
pub(super) fn number(dir: &Path, file: &str) -> Option<u64> {
    text(dir, file).trim().parse().ok()
}

fn cpu_v1(accounting: &Path, cpu: Option<&Path>) -> CpuStats {
    let ticks = text(accounting, "cpuacct.stat");
    let throttling = cpu.map(|dir| text(dir, "cpu.stat")).unwrap_or_default();
    let per_cpu = text(accounting, "cpuacct.usage_percpu");
    CpuStats {
        total: number(accounting, "cpuacct.usage").unwrap_or_default(),
        user: read_key(&ticks, "user").unwrap_or_default() * TICK,
        system: read_key(&ticks, "system").unwrap_or_default() * TICK,
        per_cpu: per_cpu.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
        periods: read_key(&throttling, "nr_periods").unwrap_or_default(),
        throttled_periods: read_key(&throttling, "nr_throttled").unwrap_or_default(),
        throttled_time: read_key(&throttling, "throttled_time").unwrap_or_default(),
    }
}

fn cpu_v2(stat: &str) -> CpuStats {
    let micros = |key| read_key(stat, key).unwrap_or_default() * 1000;
    CpuStats {
        total: micros("usage_usec"),
        user: micros("user_usec"),
        system: micros("system_usec"),
        per_cpu: Vec::new(),
        periods: read_key(stat, "nr_periods").unwrap_or_default(),
        throttled_periods: read_key(stat, "nr_throttled").unwrap_or_default(),
        throttled_time: micros("throttled_usec"),
    }
}

fn memory_v1(dir: &Path) -> MemoryStats {
    // Unlimited is the largest number of whole pages.
    const UNLIMITED: u64 = 1 << 60;
    MemoryStats {
        usage: number(dir, "memory.usage_in_bytes").unwrap_or_default(),
        max_usage: number(dir, "memory.max_usage_in_bytes").unwrap_or_default(),
        limit: number(dir, "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED),
        failcnt: number(dir, "memory.failcnt").unwrap_or_default(),
        swap_usage: number(dir, "memory.memsw.usage_in_bytes").unwrap_or_default(),
        stat: table(&text(dir, "memory.stat")),
        oom_kills: read_key(&text(dir, "memory.oom_control"), "oom_kill").unwrap_or_default(),
    }
}

fn memory_v2(dir: &Path) -> MemoryStats {
    let events = text(dir, "memory.events");
    MemoryStats {
        usage: number(dir, "memory.current").unwrap_or_default(),
        max_usage: number(dir, "memory.peak").unwrap_or_default(),
        limit: number(dir, "memory.max"),
        failcnt: read_key(&events, "oom").unwrap_or_default(),
        swap_usage: number(dir, "memory.swap.current").unwrap_or_default(),
        stat: table(&text(dir, "memory.stat")),
        oom_kills: read_key(&events, "oom_kill").unwrap_or_default(),
    }
}

fn table(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?))).collect()
}

/// Lines of `major:minor Operation value`.
pub(super) fn blkio_v1(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, op, value) = (fields.next()?, fields.next()?, fields.next()?);
            entry(device, op, value)
        })
        .collect()
}

fn entry(device: &str, op: &str, value: &str) -> Option<BlkioEntry> {
    let (major, minor) = device.split_once(':')?;
    Some(BlkioEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: op.to_owned(),
        value: value.parse().ok()?,
    })
}

/// Lines of `major:minor rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn io_v2(text: &str) -> BlkioStats {
    let mut stats = BlkioStats::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let Some(device) = fields.next() else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.service_bytes, "read"),
                "wbytes" => (&mut stats.service_bytes, "write"),
                "rios" => (&mut stats.serviced, "read"),
                "wios" => (&mut stats.serviced, "write"),
                _ => continue,
            };
            list.extend(entry(device, op, value));
        }
    }
    stats
}

/// The sizes of pages that a file with this ending speaks of.
pub(super) fn page_sizes(dir: &Path, ending: &str) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = names.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(ending)?;
        (!size.contains('.')).then(|| size.to_owned())
    });
    sizes.collect()
}

fn hugetlb_v1(dir: &Path) -> BTreeMap<String, HugetlbStats> {
    let stats = |size: String| {
        let read = |what: &str| number(dir, &format!("hugetlb.{size}.{what}")).unwrap_or_default();
        let (usage, max_usage) = (read("usage_in_bytes"), read("max_usage_in_bytes"));
        let stats = HugetlbStats { usage, max_usage, failcnt: read("failcnt") };
        (size, stats)
    };
    page_sizes(dir, ".usage_in_bytes").into_iter().map(stats).collect()
}

/// The larger of what is in use and what is reserved: pages are reserved before they are used, but need not be. There is no
/// peak.
fn hugetlb_v2(dir: &Path) -> BTreeMap<String, HugetlbStats> {
    let stats = |size: String| {
        let read = |what: &str| number(dir, &format!("hugetlb.{size}.{what}")).unwrap_or_default();
        let events = text(dir, &format!("hugetlb.{size}.events"));
        let stats = HugetlbStats {
            usage: read("current").max(read("rsvd.current")),
            max_usage: 0,
            failcnt: read_key(&events, "max").unwrap_or_default(),
        };
        (size, stats)
    };
    page_sizes(dir, ".current").into_iter().map(stats).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_version_2() {
        let cpu = cpu_v2(
            "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 4\nnr_throttled 2\nthrottled_usec 5\n",
        );
        assert_eq!((cpu.total, cpu.user, cpu.system), (10_000, 7_000, 3_000));
        assert_eq!((cpu.periods, cpu.throttled_periods, cpu.throttled_time), (4, 2, 5_000));
        let io = io_v2("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n");
        assert_eq!(io.service_bytes[1], BlkioEntry { major: 8, minor: 0, op: "write".to_owned(), value: 2 });
        assert_eq!(io.serviced[0].value, 3);
    }

    #[test]
    fn files_of_version_1() {
        let list = blkio_v1("8:0 Read 100\n8:0 Write 5\nTotal 105\n");
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].op.as_str(), list[0].value), ("Read", 100));
        assert_eq!(table("cache 5\nrss 6\n").get("rss"), Some(&6));
    }
}
