//! Limits as properties of a unit: pure functions from a document.
//!
//! systemd writes what it knows of a unit to its control group whenever it likes, also to a delegated one. So what it has a
//! property for is told to it, and our own files (which are exact, and more) are written afterwards. Values come from the
//! same settings that become files: one place decides what a share or a swap limit is.

use std::collections::BTreeMap;

use oci::runtime::Resources;

use super::super::settings;
use super::Error;
use super::wire::Value;

pub type Property = (String, Value);

/// How systemd says that there is no limit.
const UNLIMITED: u64 = u64::MAX;

/// What a kernel counts a period to when nobody says, in microseconds.
const PERIOD: u64 = 100_000;

/// More processors than Linux has.
const MOST_PROCESSORS: usize = 8192;

/// What a machine's systemd understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The first number of its version.
    pub version: u32,
    /// All controllers are of version 2.
    pub unified: bool,
}

/// `252.39-1~deb12u1`, `v257`: the number before everything else.
pub fn version(text: &str) -> u32 {
    let digits = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// What a scope is, limits aside.
pub fn scope(id: &str, slice: &str, pid: u32, dialect: Dialect) -> Vec<Property> {
    let text = |name: &str, value: String| (name.to_owned(), Value::Text(value));
    let yes = |name: &str| (name.to_owned(), Value::Bool(true));
    vec![
        text("Description", format!("container {id}")),
        text("Slice", slice.to_owned()),
        ("PIDs".to_owned(), Value::U32s(vec![pid])),
        // The groups below are ours, and so are the files that systemd has no property for.
        yes("Delegate"),
        yes("CPUAccounting"),
        yes("MemoryAccounting"),
        yes("TasksAccounting"),
        yes(if dialect.unified { "IOAccounting" } else { "BlockIOAccounting" }),
        // It is stopped by whoever has started it, and not before everything else at shutdown.
        ("DefaultDependencies".to_owned(), Value::Bool(false)),
    ]
}

/// The limits that are given.
pub fn limits(resources: &Resources, dialect: Dialect) -> Result<Vec<Property>, Error> {
    if dialect.unified { unified(resources, dialect) } else { Ok(legacy(resources, dialect)) }
}

fn number(text: &str) -> Option<u64> {
    if text == "max" { Some(UNLIMITED) } else { text.parse().ok() }
}

fn unified(resources: &Resources, dialect: Dialect) -> Result<Vec<Property>, Error> {
    let settings = settings::v2(resources);
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    files.extend(settings.iter().map(|setting| (setting.file.as_str(), setting.value.as_str())));
    files.extend(resources.unified.iter().map(|(file, value)| (file.as_str(), value.trim())));
    // The two are one property, and beside being idle no weight matters.
    if files.get("cpu.idle") == Some(&"1") && dialect.version >= 252 {
        files.remove("cpu.weight");
    }
    let mut list = Vec::new();
    for (file, value) in files {
        let plain = match file {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            _ => {
                special(file, value, dialect, &mut list)?;
                continue;
            }
        };
        // What is no number the kernel refuses later, with the name of the file.
        list.extend(number(value).map(|value| (plain.to_owned(), Value::U64(value))));
    }
    Ok(list)
}

fn special(file: &str, value: &str, dialect: Dialect, list: &mut Vec<Property>) -> Result<(), Error> {
    match file {
        "cpu.max" => {
            let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
            let period = period.trim().parse().unwrap_or(PERIOD);
            if let Some(quota) = number(quota) {
                list.extend(quota_per_second(quota, period, dialect));
            }
        }
        // 0 is how systemd says idle.
        "cpu.idle" if value == "1" && dialect.version >= 252 => {
            list.push(("CPUWeight".to_owned(), Value::U64(0)));
        }
        "io.weight" => {
            let weight = value.trim_start_matches("default").trim().parse().ok();
            list.extend(weight.map(|weight| ("IOWeight".to_owned(), Value::U64(weight))));
        }
        "cpuset.cpus" if dialect.version >= 244 => {
            list.push(("AllowedCPUs".to_owned(), Value::Bytes(bits(value)?)));
        }
        "cpuset.mems" if dialect.version >= 244 => {
            list.push(("AllowedMemoryNodes".to_owned(), Value::Bytes(bits(value)?)));
        }
        _ => {}
    }
    Ok(())
}

fn legacy(resources: &Resources, dialect: Dialect) -> Vec<Property> {
    let mut list = Vec::new();
    for setting in settings::v1(resources) {
        let name = match setting.file.as_str() {
            "memory.limit_in_bytes" => "MemoryLimit",
            "cpu.shares" => "CPUShares",
            "blkio.weight" => "BlockIOWeight",
            "pids.max" => "TasksMax",
            _ => continue,
        };
        let value = if setting.value == "-1" { Some(UNLIMITED) } else { number(&setting.value) };
        list.extend(value.map(|value| (name.to_owned(), Value::U64(value))));
    }
    if let Some(cpu) = &resources.cpu
        && let Some(quota) = cpu.quota.filter(|quota| *quota != 0)
    {
        let period = cpu.period.filter(|period| *period != 0).unwrap_or(PERIOD);
        list.extend(quota_per_second(u64::try_from(quota).unwrap_or(UNLIMITED), period, dialect));
    }
    list
}

/// systemd counts in whole per cents of a processor: what lies between is rounded up, and made exact by the file.
fn quota_per_second(quota: u64, period: u64, dialect: Dialect) -> Vec<Property> {
    const SECOND: u128 = 1_000_000;
    const PER_CENT: u128 = 10_000;
    let share = match quota {
        UNLIMITED => UNLIMITED,
        quota => {
            let share = u128::from(quota) * SECOND / u128::from(period.max(1));
            u64::try_from(share.next_multiple_of(PER_CENT)).unwrap_or(UNLIMITED)
        }
    };
    let mut list = vec![("CPUQuotaPerSecUSec".to_owned(), Value::U64(share))];
    if dialect.version >= 242 && quota != UNLIMITED {
        list.push(("CPUQuotaPeriodUSec".to_owned(), Value::U64(period)));
    }
    list
}

/// `0-2,5` as a bit each, the lowest first.
fn bits(set: &str) -> Result<Vec<u8>, Error> {
    let bad = || Error::Set { set: set.to_owned() };
    let mut mask = Vec::new();
    for range in set.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) =
            (first.trim().parse().map_err(|_| bad())?, last.trim().parse().map_err(|_| bad())?);
        if first > last || last >= MOST_PROCESSORS {
            return Err(bad());
        }
        if mask.len() <= last / 8 {
            mask.resize(last / 8 + 1, 0u8);
        }
        (first..=last).for_each(|bit| mask[bit / 8] |= 1 << (bit % 8));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use oci::runtime::{BlockIo, Cpu, Memory, Pids};

    use super::*;

    const NEW: Dialect = Dialect { version: 257, unified: true };

    fn said(resources: &Resources, dialect: Dialect) -> Vec<String> {
        let list = limits(resources, dialect).unwrap();
        list.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    fn limited() -> Resources {
        Resources {
            memory: Some(Memory {
                limit: Some(64 << 20),
                swap: Some(96 << 20),
                reservation: Some(1 << 20),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: Some(1024),
                quota: Some(33_333),
                period: Some(100_000),
                cpus: "0,9-10".to_owned(),
                mems: "0".to_owned(),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: -1 }),
            block_io: Some(BlockIo { weight: Some(10), ..BlockIo::default() }),
            ..Resources::default()
        }
    }

    #[test]
    fn limits_of_version_2() {
        assert_eq!(
            said(&limited(), NEW),
            [
                "CPUQuotaPerSecUSec=U64(340000)",
                "CPUQuotaPeriodUSec=U64(100000)",
                "CPUWeight=U64(100)",
                "AllowedCPUs=Bytes([1, 6])",
                "AllowedMemoryNodes=Bytes([1])",
                "IOWeight=U64(1)",
                "MemoryLow=U64(1048576)",
                "MemoryMax=U64(67108864)",
                "MemorySwapMax=U64(33554432)",
                "TasksMax=U64(18446744073709551615)",
            ]
        );
    }

    #[test]
    fn an_old_systemd_is_not_told_what_it_does_not_know() {
        let old = said(&limited(), Dialect { version: 239, unified: true });
        assert!(!old.iter().any(|p| p.starts_with("Allowed") || p.starts_with("CPUQuotaPeriod")), "{old:?}");
        assert!(old.contains(&"CPUQuotaPerSecUSec=U64(340000)".to_owned()));
    }

    #[test]
    fn limits_of_version_1() {
        let dialect = Dialect { version: 247, unified: false };
        assert_eq!(
            said(&limited(), dialect),
            [
                "MemoryLimit=U64(67108864)",
                "CPUShares=U64(1024)",
                "TasksMax=U64(18446744073709551615)",
                "BlockIOWeight=U64(10)",
                "CPUQuotaPerSecUSec=U64(340000)",
                "CPUQuotaPeriodUSec=U64(100000)",
            ]
        );
    }

    #[test]
    fn files_that_are_asked_for_by_name_are_told_too() {
        let mut resources = Resources::default();
        for (file, value) in [
            ("memory.high", "1048576"),
            ("memory.min", "max"),
            ("cpu.max", "max 50000"),
            ("cpu.weight", "7"),
            ("cpu.idle", "1"),
            ("memory.oom.group", "1"),
            ("pids.max", "many"),
        ] {
            resources.unified.insert(file.to_owned(), value.to_owned());
        }
        resources.memory = Some(Memory { limit: Some(-1), ..Memory::default() });
        assert_eq!(
            said(&resources, NEW),
            [
                "CPUWeight=U64(0)",
                "CPUQuotaPerSecUSec=U64(18446744073709551615)",
                "MemoryHigh=U64(1048576)",
                "MemoryMax=U64(18446744073709551615)",
                "MemoryMin=U64(18446744073709551615)",
                "MemorySwapMax=U64(18446744073709551615)",
            ]
        );
    }

    #[test]
    fn sets_that_are_none() {
        for set in ["a", "3-1", "0-", "9999999", "-1"] {
            let cpu = Cpu { cpus: set.to_owned(), ..Cpu::default() };
            let resources = Resources { cpu: Some(cpu), ..Resources::default() };
            assert!(matches!(limits(&resources, NEW), Err(Error::Set { .. })), "{set}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(["252.39-1~deb12u1", "v257", "", "x"].map(version), [252, 257, 0, 0]);
    }
}
