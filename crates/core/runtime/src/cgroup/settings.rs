//! Limits as the files of either version: pure functions from a document to writes.

use oci::runtime::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

/// One value for one file of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub controller: &'static str,
    pub file: String,
    pub value: String,
    /// What the user calls it, for warnings.
    pub what: &'static str,
}

fn set(
    controller: &'static str,
    file: impl Into<String>,
    value: impl ToString,
    what: &'static str,
) -> Setting {
    Setting { controller, file: file.into(), value: value.to_string(), what }
}

/// For version 1 controllers, in the order in which they are to be written.
pub(crate) fn v1(resources: &Resources) -> Vec<Setting> {
    let mut list = Vec::new();
    if let Some(memory) = &resources.memory {
        v1_memory(memory, &mut list);
    }
    if let Some(cpu) = &resources.cpu {
        v1_cpu(cpu, &mut list);
    }
    if let Some(pids) = &resources.pids {
        list.push(set("pids", "pids.max", max(pids.limit.max(0), 0), "pids limit"));
    }
    if let Some(io) = &resources.block_io {
        v1_block_io(io, &mut list);
    }
    for huge in &resources.hugepage_limits {
        let file = format!("hugetlb.{}.limit_in_bytes", huge.page_size);
        list.push(set("hugetlb", file, huge.limit, "huge page limit"));
    }
    list
}

fn v1_memory(memory: &Memory, list: &mut Vec<Setting>) {
    let fields = [
        ("memory.limit_in_bytes", memory.limit, "memory limit"),
        ("memory.memsw.limit_in_bytes", memory.swap, "memory swap limit"),
        ("memory.soft_limit_in_bytes", memory.reservation, "memory reservation"),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, "kernel TCP memory limit"),
    ];
    for (file, value, what) in fields {
        // Zero is how Docker's documents say "not given".
        if let Some(value) = value.filter(|value| *value != 0) {
            list.push(set("memory", file, value, what));
        }
    }
    if let Some(swappiness) = memory.swappiness {
        list.push(set("memory", "memory.swappiness", swappiness, "memory swappiness"));
    }
    if memory.disable_oom_killer == Some(true) {
        list.push(set("memory", "memory.oom_control", 1, "disabling the OOM killer"));
    }
}

fn v1_cpu(cpu: &Cpu, list: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        list.push(set("cpu", "cpu.shares", shares, "CPU shares"));
    }
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        list.push(set("cpu", "cpu.cfs_period_us", period, "CPU period"));
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        list.push(set("cpu", "cpu.cfs_quota_us", quota, "CPU quota"));
    }
    if let Some(burst) = cpu.burst {
        list.push(set("cpu", "cpu.cfs_burst_us", burst, "CPU burst"));
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        list.push(set("cpu", "cpu.rt_period_us", period, "CPU real-time period"));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        list.push(set("cpu", "cpu.rt_runtime_us", runtime, "CPU real-time runtime"));
    }
    if let Some(idle) = cpu.idle {
        list.push(set("cpu", "cpu.idle", idle, "CPU idle"));
    }
    cpuset(cpu, list);
}

fn cpuset(cpu: &Cpu, list: &mut Vec<Setting>) {
    if !cpu.cpus.is_empty() {
        list.push(set("cpuset", "cpuset.cpus", &cpu.cpus, "CPU set"));
    }
    if !cpu.mems.is_empty() {
        list.push(set("cpuset", "cpuset.mems", &cpu.mems, "memory node set"));
    }
}

fn v1_block_io(io: &BlockIo, list: &mut Vec<Setting>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        list.push(set("blkio", "blkio.weight", weight, "block I/O weight"));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            list.push(set("blkio", "blkio.weight_device", value, "block I/O device weight"));
        }
    }
    for (file, _, devices) in throttles(io) {
        for device in devices {
            let value = format!("{}:{} {}", device.major, device.minor, device.rate);
            list.push(set("blkio", file, value, "block I/O throttle"));
        }
    }
}

/// The file of version 1, the key of version 2, the devices.
fn throttles(io: &BlockIo) -> [(&'static str, &'static str, &[ThrottleDevice]); 4] {
    [
        ("blkio.throttle.read_bps_device", "rbps", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", "wbps", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", "riops", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", "wiops", &io.throttle_write_iops_device),
    ]
}

/// For version 2 controllers.
pub(crate) fn v2(resources: &Resources) -> Vec<Setting> {
    let mut list = Vec::new();
    if let Some(memory) = &resources.memory {
        v2_memory(memory, &mut list);
    }
    if let Some(cpu) = &resources.cpu {
        v2_cpu(cpu, &mut list);
    }
    if let Some(pids) = &resources.pids {
        list.push(set("pids", "pids.max", max(pids.limit.max(0), 0), "pids limit"));
    }
    if let Some(io) = &resources.block_io {
        v2_io(io, &mut list);
    }
    for huge in &resources.hugepage_limits {
        let file = format!("hugetlb.{}.max", huge.page_size);
        list.push(set("hugetlb", file, huge.limit, "huge page limit"));
    }
    list
}

fn v2_memory(memory: &Memory, list: &mut Vec<Setting>) {
    let limit = memory.limit.filter(|limit| *limit != 0);
    if let Some(swap) = memory.swap.filter(|swap| *swap != 0) {
        // Version 1 counts memory and swap together, version 2 swap alone.
        let alone = match limit {
            _ if swap < 0 => -1,
            Some(limit) if limit > 0 => (swap - limit).max(0),
            _ => swap,
        };
        list.push(set("memory", "memory.swap.max", max(alone, -1), "memory swap limit"));
    }
    if let Some(limit) = limit {
        list.push(set("memory", "memory.max", max(limit, -1), "memory limit"));
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        list.push(set("memory", "memory.low", max(reservation, -1), "memory reservation"));
    }
}

fn v2_cpu(cpu: &Cpu, list: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        list.push(set("cpu", "cpu.weight", weight_of_shares(shares), "CPU shares"));
    }
    let (quota, period) = (cpu.quota.filter(|q| *q != 0), cpu.period.filter(|p| *p != 0));
    if quota.is_some() || period.is_some() {
        let quota = max(quota.unwrap_or(-1), -1);
        list.push(set("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(100_000)), "CPU quota"));
    }
    if let Some(burst) = cpu.burst {
        list.push(set("cpu", "cpu.max.burst", burst, "CPU burst"));
    }
    if let Some(idle) = cpu.idle {
        list.push(set("cpu", "cpu.idle", idle, "CPU idle"));
    }
    cpuset(cpu, list);
}

fn v2_io(io: &BlockIo, list: &mut Vec<Setting>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        // 10..=1000 becomes 1..=10000.
        let weight = 1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
        list.push(set("io", "io.weight", format!("default {weight}"), "block I/O weight"));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            list.push(set("io", "io.bfq.weight", value, "block I/O device weight"));
        }
    }
    for (_, key, devices) in throttles(io) {
        for device in devices {
            let value = format!("{}:{} {key}={}", device.major, device.minor, device.rate);
            list.push(set("io", "io.max", value, "block I/O throttle"));
        }
    }
}

/// A number, or `max` for the one that means unlimited.
fn max(value: i64, unlimited: i64) -> String {
    if value == unlimited || value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Shares 2, 1024, 262144 are weights 1, 100, 10000: the curve that runc's library has used since 2025, by
/// which the two defaults are the same.
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use oci::runtime::Pids;

    use super::*;

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn limits_of_docker_run() {
        let resources = Resources {
            memory: Some(Memory { limit: Some(64 << 20), swap: Some(128 << 20), ..Memory::default() }),
            cpu: Some(Cpu {
                quota: Some(50_000),
                period: Some(100_000),
                cpus: "0-1".to_owned(),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: 100 }),
            ..Resources::default()
        };
        assert_eq!(
            lines(&v1(&resources)),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=134217728",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0-1",
                "pids.max=100"
            ]
        );
        assert_eq!(
            lines(&v2(&resources)),
            [
                "memory.swap.max=67108864",
                "memory.max=67108864",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1",
                "pids.max=100"
            ]
        );
    }

    #[test]
    fn unlimited_and_not_given_are_different() {
        let none = Resources {
            memory: Some(Memory { limit: Some(0), ..Memory::default() }),
            ..Resources::default()
        };
        assert!(v1(&none).is_empty() && v2(&none).is_empty());
        let unlimited = Resources {
            memory: Some(Memory { limit: Some(-1), swap: Some(-1), ..Memory::default() }),
            pids: Some(Pids { limit: 0 }),
            ..Resources::default()
        };
        assert_eq!(lines(&v2(&unlimited)), ["memory.swap.max=max", "memory.max=max", "pids.max=max"]);
    }

    #[test]
    fn shares_and_weights_meet_at_both_ends_and_the_default() {
        assert_eq!([1, 2, 1024, 262_144].map(weight_of_shares), [1, 1, 100, 10_000]);
    }

    #[test]
    fn throttles_name_the_device() {
        let device = ThrottleDevice { major: 8, minor: 0, rate: 1024 };
        let io = BlockIo { throttle_read_bps_device: vec![device], weight: Some(1000), ..BlockIo::default() };
        let resources = Resources { block_io: Some(io), ..Resources::default() };
        assert_eq!(lines(&v1(&resources)), ["blkio.weight=1000", "blkio.throttle.read_bps_device=8:0 1024"]);
        assert_eq!(lines(&v2(&resources)), ["io.weight=default 10000", "io.max=8:0 rbps=1024"]);
    }
}
