//! Limits and devices of a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::containers::{Resources as Asked, ThrottleDevice};
use oci::runtime::{
    BlockIo, Cpu, Device, DeviceRule, Memory, Pids, Resources, ThrottleDevice as Throttle, WeightDevice,
};

use crate::error::{Error, Result};

/// A device of this machine that a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Where it appears in the container.
    pub path: PathBuf,
    /// `c` or `b`.
    pub typ: char,
    /// Its number.
    pub major: i64,
    /// Its number.
    pub minor: i64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What the container may do with it: of `r`, `w`, `m`.
    pub access: String,
}

/// Limits without devices. `block` knows the device numbers of the paths in block I/O limits.
pub fn resources(asked: &Asked, block: &BTreeMap<String, (i64, i64)>) -> Result<Resources> {
    Ok(Resources {
        memory: memory(asked),
        cpu: cpu(asked),
        pids: asked.pids_limit.filter(|n| *n > 0).map(|limit| Pids { limit }),
        block_io: block_io(asked, block)?,
        ..Resources::default()
    })
}

fn some<T: PartialEq + Default>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn memory(asked: &Asked) -> Option<Memory> {
    let memory = Memory {
        limit: some(asked.memory),
        reservation: some(asked.memory_reservation),
        swap: some(asked.memory_swap),
        swappiness: asked.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        disable_oom_killer: asked.oom_kill_disable.filter(|on| *on),
        kernel_tcp: some(asked.kernel_memory_tcp),
        ..Memory::default()
    };
    some(memory)
}

fn cpu(asked: &Asked) -> Option<Cpu> {
    // As Docker: whole CPUs are a quota of a period of 100 ms.
    const PERIOD: i64 = 100_000;
    let (quota, period) = match asked.nano_cpus {
        0 => (some(asked.cpu_quota), u64::try_from(asked.cpu_period).ok().and_then(some)),
        nano => (Some(nano * PERIOD / 1_000_000_000), Some(PERIOD as u64)),
    };
    // The kernel takes 2 to 262144 and Docker clamps silently.
    let shares = some(asked.cpu_shares).map(|n| n.clamp(2, 262_144) as u64);
    let cpu = Cpu {
        shares,
        quota,
        period,
        realtime_runtime: some(asked.cpu_realtime_runtime),
        realtime_period: u64::try_from(asked.cpu_realtime_period).ok().and_then(some),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..Cpu::default()
    };
    some(cpu)
}

fn block_io(asked: &Asked, block: &BTreeMap<String, (i64, i64)>) -> Result<Option<BlockIo>> {
    let number = |path: &str| {
        block.get(path).copied().ok_or_else(|| Error::invalid(format!("no such block device: {path}")))
    };
    let throttle = |list: &[ThrottleDevice]| {
        list.iter()
            .map(|d| number(&d.path).map(|(major, minor)| Throttle { major, minor, rate: d.rate }))
            .collect::<Result<Vec<_>>>()
    };
    let weight_device = asked
        .blkio_weight_device
        .iter()
        .map(|d| {
            number(&d.path).map(|(major, minor)| WeightDevice {
                major,
                minor,
                weight: Some(d.weight),
                leaf_weight: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(some(BlockIo {
        weight: some(asked.blkio_weight),
        leaf_weight: None,
        weight_device,
        throttle_read_bps_device: throttle(&asked.blkio_device_read_bps)?,
        throttle_write_bps_device: throttle(&asked.blkio_device_write_bps)?,
        throttle_read_iops_device: throttle(&asked.blkio_device_read_iops)?,
        throttle_write_iops_device: throttle(&asked.blkio_device_write_iops)?,
    }))
}

/// The device nodes of a container and the rules of its device control group.
pub fn devices(
    given: &[HostDevice],
    extra_rules: &[String],
    privileged: bool,
) -> Result<(Vec<Device>, Vec<DeviceRule>)> {
    let nodes = given.iter().map(|d| Device {
        path: d.path.clone(),
        typ: d.typ.to_string(),
        major: d.major,
        minor: d.minor,
        file_mode: Some(d.mode & 0o7777),
        uid: Some(d.uid),
        gid: Some(d.gid),
    });
    if privileged {
        let all = DeviceRule { allow: true, access: "rwm".to_owned(), ..DeviceRule::default() };
        return Ok((nodes.collect(), vec![all]));
    }
    let mut rules = runtime::defaults::devices();
    rules.extend(given.iter().map(|d| allow(d.typ, Some(d.major), Some(d.minor), &d.access)));
    for text in extra_rules {
        rules.push(rule(text)?);
    }
    Ok((nodes.collect(), rules))
}

fn allow(typ: char, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
    DeviceRule { allow: true, typ: Some(typ.to_string()), major, minor, access: access.to_owned() }
}

/// `--device-cgroup-rule`: `c 1:3 rwm`, `a *:* r`.
pub fn rule(text: &str) -> Result<DeviceRule> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let [typ, numbers, access] = words.as_slice() else { return Err(invalid()) };
    if !matches!(*typ, "a" | "b" | "c") || !is_access(access) {
        return Err(invalid());
    }
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |t: &str| match t {
        "*" => Ok(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| invalid())
        }
        _ => Err(invalid()),
    };
    Ok(DeviceRule {
        allow: true,
        typ: Some((*typ).to_owned()),
        major: number(major)?,
        minor: number(minor)?,
        access: (*access).to_owned(),
    })
}

/// Whether this is a combination of `r`, `w`, `m`, each at most once.
pub fn is_access(text: &str) -> bool {
    let mut seen = [false; 3];
    !text.is_empty()
        && text.chars().all(|c| "rwm".find(c).is_some_and(|i| !std::mem::replace(&mut seen[i], true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_a_quota() {
        let asked =
            Asked { nano_cpus: 1_500_000_000, memory: 1 << 29, memory_swap: 1 << 29, ..Asked::default() };
        let limits = resources(&asked, &BTreeMap::new()).unwrap();
        let cpu = limits.cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
        let memory = limits.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(1 << 29), Some(1 << 29)));
        assert_eq!(limits.pids, None);
        assert_eq!(resources(&Asked::default(), &BTreeMap::new()).unwrap(), Resources::default());
    }

    #[test]
    fn rules() {
        let r = rule("c 1:* rw").unwrap();
        assert_eq!((r.typ.as_deref(), r.major, r.minor, r.access.as_str()), (Some("c"), Some(1), None, "rw"));
        for bad in ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 rr", "c 1:3 x", "c -1:3 r", "c 1:3 r r"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_block_device_must_be_known() {
        let device = ThrottleDevice { path: "/dev/sda".into(), rate: 5 };
        let asked = Asked { blkio_device_read_bps: vec![device], ..Asked::default() };
        assert!(resources(&asked, &BTreeMap::new()).is_err());
        let known = BTreeMap::from([("/dev/sda".to_owned(), (8, 0))]);
        let limits = resources(&asked, &known).unwrap().block_io.unwrap();
        assert_eq!(limits.throttle_read_bps_device, [Throttle { major: 8, minor: 0, rate: 5 }]);
    }
}
