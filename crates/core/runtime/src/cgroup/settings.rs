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
    /// Another file that does the same on other kernels, and what to write there.
    pub instead: Option<(&'static str, String)>,
    /// The kernel need not have it: something else has been written that matters more.
    pub extra: bool,
}

/// Settings that no kernel of a version has: told of, never in silence.
const NOWHERE: &str = "";

fn set(
    controller: &'static str,
    file: impl Into<String>,
    value: impl ToString,
    what: &'static str,
) -> Setting {
    Setting { controller, file: file.into(), value: value.to_string(), what, instead: None, extra: false }
}

/// One for which there is no file.
fn nowhere(controller: &'static str, what: &'static str) -> Setting {
    set(controller, NOWHERE, "", what)
}

/// Limits that contradict each other, which the kernel would take without a word or refuse without one.
pub(crate) fn check(resources: &Resources) -> Result<(), String> {
    let memory = resources.memory.as_ref();
    let limit = memory.and_then(|memory| memory.limit).filter(|limit| *limit != 0);
    let swap = memory.and_then(|memory| memory.swap).filter(|swap| *swap > 0);
    match (limit, swap) {
        (Some(limit), Some(swap)) if limit > swap => {
            return Err(format!("memory+swap limit {swap} is below the memory limit {limit}"));
        }
        (None | Some(..0), Some(_)) => {
            return Err("unable to set swap limit without memory limit".to_owned());
        }
        _ => {}
    }
    for (value, what) in [(limit, "memory"), (memory.and_then(|memory| memory.swap), "memory+swap")] {
        if let Some(value @ ..-1) = value {
            return Err(format!("invalid {what} value: {value}"));
        }
    }
    let name = |name: &str| !name.is_empty() && !name.contains(['/', '.', '\n', ' ']);
    if let Some(huge) = resources.hugepage_limits.iter().find(|huge| !name(&huge.page_size)) {
        return Err(format!("bad huge page size {:?}", huge.page_size));
    }
    if let Some(device) =
        resources.rdma.keys().find(|device| device.is_empty() || device.contains([' ', '\n']))
    {
        return Err(format!("bad RDMA device {device:?}"));
    }
    Ok(())
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
        let file = format!("hugetlb.{}.rsvd.limit_in_bytes", huge.page_size);
        list.push(Setting { extra: true, ..set("hugetlb", file, huge.limit, "huge page reservation limit") });
    }
    if let Some(network) = &resources.network {
        if let Some(id) = network.class_id {
            list.push(set("net_cls", "net_cls.classid", id, "network class"));
        }
        for priority in &network.priorities {
            let value = format!("{} {}", priority.name, priority.priority);
            list.push(set("net_prio", "net_prio.ifpriomap", value, "network priority"));
        }
    }
    rdma(resources, &mut list);
    list
}

/// The same in both versions.
fn rdma(resources: &Resources, list: &mut Vec<Setting>) {
    for (device, limits) in &resources.rdma {
        let mut value = device.clone();
        for (key, limit) in [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {key}={limit}"));
            }
        }
        list.push(set("rdma", "rdma.max", value, "RDMA limit"));
    }
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
    if memory.kernel.is_some_and(|kernel| kernel != 0) {
        list.push(nowhere("memory", "a limit of kernel memory"));
    }
    if memory.use_hierarchy == Some(false) {
        list.push(nowhere("memory", "memory without a hierarchy"));
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
        let instead = Some(("blkio.bfq.weight", weight.to_string()));
        list.push(Setting { instead, ..set("blkio", "blkio.weight", weight, "block I/O weight") });
    }
    if let Some(weight) = io.leaf_weight.filter(|weight| *weight != 0) {
        list.push(set("blkio", "blkio.leaf_weight", weight, "block I/O leaf weight"));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            let instead = Some(("blkio.bfq.weight_device", value.clone()));
            let what = "block I/O device weight";
            list.push(Setting { instead, ..set("blkio", "blkio.weight_device", value, what) });
        }
        if let Some(weight) = device.leaf_weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            list.push(set("blkio", "blkio.leaf_weight_device", value, "block I/O device leaf weight"));
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
        let file = format!("hugetlb.{}.rsvd.max", huge.page_size);
        list.push(Setting { extra: true, ..set("hugetlb", file, huge.limit, "huge page reservation limit") });
    }
    if let Some(network) = &resources.network {
        if network.class_id.is_some() {
            list.push(nowhere("net_cls", "network class"));
        }
        if !network.priorities.is_empty() {
            list.push(nowhere("net_prio", "network priority"));
        }
    }
    rdma(resources, &mut list);
    list
}

fn v2_memory(memory: &Memory, list: &mut Vec<Setting>) {
    let limit = memory.limit.filter(|limit| *limit != 0);
    // No limit of memory is none of memory and swap either, as on version 1.
    let unlimited = limit.filter(|limit| *limit < 0);
    if let Some(swap) = memory.swap.filter(|swap| *swap != 0).or(unlimited) {
        // Version 1 counts memory and swap together, version 2 swap alone.
        let alone = if swap < 0 { -1 } else { swap - limit.unwrap_or_default() };
        let value = max(alone, -1);
        // Where swap is not counted there is nothing to be lifted, and mostly none to be had.
        let extra = alone <= 0;
        list.push(Setting { extra, ..set("memory", "memory.swap.max", value, "memory swap limit") });
    }
    if let Some(limit) = limit {
        list.push(set("memory", "memory.max", max(limit, -1), "memory limit"));
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        list.push(set("memory", "memory.low", max(reservation, -1), "memory reservation"));
    }
    let without = [
        (memory.kernel.is_some_and(|kernel| kernel != 0), "a limit of kernel memory"),
        (memory.kernel_tcp.is_some_and(|kernel| kernel != 0), "kernel TCP memory limit"),
        (memory.swappiness.is_some(), "memory swappiness"),
        (memory.disable_oom_killer == Some(true), "disabling the OOM killer"),
        (memory.use_hierarchy == Some(false), "memory without a hierarchy"),
    ];
    list.extend(without.iter().filter(|(asked, _)| *asked).map(|(_, what)| nowhere("memory", what)));
}

fn v2_cpu(cpu: &Cpu, list: &mut Vec<Setting>) {
    // A group that is idle takes no weight.
    let idle = cpu.idle.map(|idle| set("cpu", "cpu.idle", idle, "CPU idle"));
    list.extend(idle.clone().filter(|_| cpu.idle == Some(0)));
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
    list.extend(idle.filter(|_| cpu.idle != Some(0)));
    if cpu.realtime_period.is_some_and(|period| period != 0) {
        list.push(nowhere("cpu", "CPU real-time period"));
    }
    if cpu.realtime_runtime.is_some_and(|runtime| runtime != 0) {
        list.push(nowhere("cpu", "CPU real-time runtime"));
    }
    cpuset(cpu, list);
}

fn v2_io(io: &BlockIo, list: &mut Vec<Setting>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        list.extend(weights("default", weight, "block I/O weight"));
    }
    let leaf = |device: &oci::runtime::WeightDevice| device.leaf_weight.is_some();
    if io.leaf_weight.is_some_and(|weight| weight != 0) || io.weight_device.iter().any(leaf) {
        list.push(nowhere("io", "block I/O leaf weight"));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            let number = format!("{}:{}", device.major, device.minor);
            list.extend(weights(&number, weight, "block I/O device weight"));
        }
    }
    for (_, key, devices) in throttles(io) {
        for device in devices {
            // No rate takes a limit away on version 1.
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            let value = format!("{}:{} {key}={rate}", device.major, device.minor);
            list.push(set("io", "io.max", value, "block I/O throttle"));
        }
    }
}

/// Two that may be there share out a disk: the BFQ scheduler, which has a file of its own and takes the weight as it is, and
/// the cost model, whose 1 to 10000 stand for our 10 to 1000. Which of them a disk has may change any time.
fn weights(whose: &str, weight: u16, what: &'static str) -> [Setting; 2] {
    let converted = 1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
    let [bfq, cost] = [format!("{whose} {weight}"), format!("{whose} {converted}")];
    let instead = Some(("io.weight", cost.clone()));
    [
        Setting { instead, ..set("io", "io.bfq.weight", bfq, what) },
        Setting { extra: true, ..set("io", "io.weight", cost, what) },
    ]
}

/// A number, or `max` for the one that means unlimited.
fn max(value: i64, unlimited: i64) -> String {
    if value == unlimited || value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Shares 2, 1024, 262144 are weights 1, 100, 10000: the curve of runc since 1.3.2 and crun since 1.23, by which the two
/// defaults are the same. Those before went straight from one end to the other, and made 39 of 1024.
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
        assert_eq!(
            lines(&v2(&resources)),
            ["io.bfq.weight=default 1000", "io.weight=default 10000", "io.max=8:0 rbps=1024"]
        );
    }

    #[test]
    fn every_field_is_written_or_told_of() {
        let json = r#"{
            "memory": {"kernel": 5, "kernelTCP": 6, "swappiness": 7, "disableOOMKiller": true, "useHierarchy": false},
            "cpu": {"realtimeRuntime": 1, "realtimePeriod": 2, "idle": 1, "burst": 3},
            "blockIO": {"leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 20, "leafWeight": 30}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
            "rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 9}}
        }"#;
        let resources: Resources = serde_json::from_str(json).unwrap();
        assert!(check(&resources).is_ok());
        let names = |list: &[Setting]| list.iter().map(|s| s.what).collect::<std::collections::BTreeSet<_>>();
        let both = [names(&v1(&resources)), names(&v2(&resources))];
        for what in [
            "a limit of kernel memory",
            "kernel TCP memory limit",
            "memory swappiness",
            "disabling the OOM killer",
            "memory without a hierarchy",
            "CPU real-time runtime",
            "CPU real-time period",
            "CPU idle",
            "CPU burst",
            "block I/O leaf weight",
            "block I/O device weight",
            "huge page limit",
            "huge page reservation limit",
            "network class",
            "network priority",
            "RDMA limit",
        ] {
            assert!(both.iter().all(|names| names.contains(what)), "{what}: {both:?}");
        }
        assert!(lines(&v1(&resources)).contains(&"rdma.max=mlx5_0 hca_handle=3 hca_object=9".to_owned()));
    }

    #[test]
    fn contradictions_are_refused() {
        let memory = |limit, swap| Resources {
            memory: Some(Memory { limit: Some(limit), swap: Some(swap), ..Memory::default() }),
            ..Resources::default()
        };
        for (limit, swap) in [(64, 63), (-1, 63), (0, 5), (64, -2), (-2, 0)] {
            assert!(check(&memory(limit, swap)).is_err(), "{limit} {swap}");
        }
        for (limit, swap) in [(64, 64), (64, -1), (0, -1), (64, 0)] {
            assert!(check(&memory(limit, swap)).is_ok(), "{limit} {swap}");
        }
    }
}
