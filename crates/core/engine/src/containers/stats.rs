//! `docker stats`: what a container uses, once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use api::containers::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, StatsOptions,
    ThrottlingData,
};
use api::time;
use runtime::cgroup::{self, Cgroup};
use tokio::sync::mpsc;

use super::launch;
use super::record::{self, Record};
use crate::error::{Context, Result};
use crate::{Engine, machine};

const INTERVAL: Duration = Duration::from_secs(1);
/// Ticks a second in `/proc/stat`: the kernel's ABI.
const HZ: u64 = 100;

/// Samples until the receiver is dropped or the container is removed; without `stream` one sample, which compares with
/// the second before unless it is `one_shot`.
pub async fn stats(engine: &Engine, reference: &str, options: StatsOptions) -> Result<mpsc::Receiver<Stats>> {
    let reference = reference.to_owned();
    let record = engine.blocking(move |engine| record::find(engine, &reference)).await?;
    let (sender, receiver) = mpsc::channel(1);
    let engine = engine.clone();
    tokio::spawn(async move {
        if let Err(e) = sample_loop(&engine, record, &options, &sender).await {
            tracing::debug!(error = %e, "stats ended");
        }
    });
    Ok(receiver)
}

async fn sample_loop(
    engine: &Engine,
    record: Record,
    options: &StatsOptions,
    sender: &mpsc::Sender<Stats>,
) -> Result<()> {
    let mut previous: Option<Stats> = None;
    loop {
        let id = record.id.clone();
        let mut stats = engine.blocking(move |engine| sample(engine, &id)).await?;
        let is_idle = stats.cpu_stats == CpuStats::default();
        let wants_two = !options.stream && !options.one_shot && previous.is_none() && !is_idle;
        if let Some(previous) = &previous {
            stats.preread.clone_from(&previous.read);
            stats.precpu_stats = previous.cpu_stats.clone();
        } else {
            stats.preread = time::ZERO.to_owned();
        }
        previous = Some(stats.clone());
        if !wants_two && (sender.send(stats).await.is_err() || !options.stream) {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// One sample; of a container that does not run all zeros.
fn sample(engine: &Engine, id: &str) -> Result<Stats> {
    let record = record::get(engine, id)?;
    let status = record::observe(engine, id)?.status;
    let mut stats = Stats {
        name: format!("/{}", record.name),
        id: record.id.clone(),
        read: time::now(),
        ..Stats::default()
    };
    if status.pid == 0 {
        stats.read = time::ZERO.to_owned();
        return Ok(stats);
    }
    let group = Cgroup::new(&launch::cgroup_path(&record)).system()?;
    let used = group.stats().during("read the container's control group")?;
    fill(&mut stats, &used);
    let network = std::fs::read_to_string(format!("/proc/{}/net/dev", status.pid)).unwrap_or_default();
    stats.networks = networks(&network);
    Ok(stats)
}

fn fill(stats: &mut Stats, used: &cgroup::Stats) {
    stats.pids_stats = PidsStats { current: used.pids.current, limit: used.pids.limit.unwrap_or(0) };
    let system = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stats.cpu_stats = CpuStats {
        cpu_usage: CpuUsage {
            total_usage: used.cpu.total,
            percpu_usage: used.cpu.per_cpu.clone(),
            usage_in_kernelmode: used.cpu.system,
            usage_in_usermode: used.cpu.user,
        },
        system_cpu_usage: system_cpu(&system),
        online_cpus: machine::cpus(),
        throttling_data: ThrottlingData {
            periods: used.cpu.periods,
            throttled_periods: used.cpu.throttled_periods,
            throttled_time: used.cpu.throttled_time,
        },
    };
    // Docker reports the machine's memory where nothing limits the container.
    let machine = machine::memory();
    stats.memory_stats = MemoryStats {
        usage: used.memory.usage,
        max_usage: used.memory.max_usage,
        stats: used.memory.stat.clone(),
        failcnt: used.memory.failcnt,
        limit: used.memory.limit.filter(|limit| *limit < machine).unwrap_or(machine),
    };
    let entries = |list: &[cgroup::BlkioEntry]| {
        let copy = |e: &cgroup::BlkioEntry| BlkioEntry {
            major: e.major,
            minor: e.minor,
            op: e.op.clone(),
            value: e.value,
        };
        Some(list.iter().map(copy).collect())
    };
    stats.blkio_stats = BlkioStats {
        io_service_bytes_recursive: entries(&used.blkio.service_bytes),
        io_serviced_recursive: entries(&used.blkio.serviced),
        ..BlkioStats::default()
    };
}

/// Nanoseconds that all processors together have spent, from the first line of `/proc/stat`.
fn system_cpu(stat: &str) -> u64 {
    let Some(line) = stat.lines().next().and_then(|l| l.strip_prefix("cpu ")) else { return 0 };
    let ticks: u64 = line.split_whitespace().take(7).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks.saturating_mul(1_000_000_000 / HZ)
}

/// The counters of `/proc/<pid>/net/dev`, without loopback.
fn networks(dev: &str) -> BTreeMap<String, NetworkStats> {
    dev.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, counters)| {
            let n: Vec<u64> = counters.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
            let at = |i: usize| n.get(i).copied().unwrap_or(0);
            let stats = NetworkStats {
                rx_bytes: at(0),
                rx_packets: at(1),
                rx_errors: at(2),
                rx_dropped: at(3),
                tx_bytes: at(8),
                tx_packets: at(9),
                tx_errors: at(10),
                tx_dropped: at(11),
            };
            (name.trim().to_owned(), stats)
        })
        .filter(|(name, _)| name != "lo")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let dev = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  \
                   eth0: 100 2 3 4 0 0 0 0 200 6 7 8 0 0 0 0\n";
        let n = networks(dev);
        assert_eq!(n.len(), 1);
        assert_eq!((n["eth0"].rx_bytes, n["eth0"].tx_bytes, n["eth0"].tx_dropped), (100, 200, 8));
        assert_eq!(system_cpu("cpu  1 2 3 4 5 6 7 8 9\n"), 28 * 10_000_000);
    }
}
