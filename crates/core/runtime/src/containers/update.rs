//! `update`: other limits for a container.

use oci::runtime::{Cpu, Linux, Memory, Resources};

use super::{Container, Error, Status};
use crate::resctrl;

/// What changes; what is `None` or empty stays.
#[derive(Debug, Default)]
pub struct Update {
    /// Device rules are left alone, as runc does: others may have changed them since.
    pub resources: Resources,
    /// Schemas of resctrl.
    pub l3_cache_schema: String,
    pub mem_bw_schema: String,
}

/// Applies limits and writes them down, so that a later change of half of a pair knows the other half. Gives warnings.
/// After an error those that were there before are back as far as the kernel takes them.
pub fn update(container: &Container, update: Update) -> Result<Vec<String>, Error> {
    let _lock = container.folder.lock()?;
    if container.status()? == Status::Stopped {
        return Err(Error::NotRunning);
    }
    let mut spec = container.folder.read_spec()?;
    let linux = spec.linux.get_or_insert_default();
    let Update { mut resources, l3_cache_schema, mem_bw_schema } = update;
    resources.devices.clear();
    let warnings = apply(container, linux, resources)?;
    if !l3_cache_schema.is_empty() || !mem_bw_schema.is_empty() {
        classify(container, linux, &l3_cache_schema, &mem_bw_schema)?;
    }
    container.folder.rewrite_spec(&spec)?;
    Ok(warnings)
}

fn apply(container: &Container, linux: &mut Linux, changes: Resources) -> Result<Vec<String>, Error> {
    if changes == Resources::default() {
        return Ok(Vec::new());
    }
    let cgroup = container.cgroup()?.ok_or(Error::NoCgroup { what: "a limit" })?;
    let before = linux.resources.clone().unwrap_or_default();
    let after = merged(&before, &changes);
    let wanted = completed(changes, &after);
    let set = |resources: &Resources| {
        if let Some(unit) = &container.record.scope {
            super::scope::update(unit, resources)?;
        }
        cgroup.apply(resources).map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })
    };
    let warnings = set(&wanted).inspect_err(|_| {
        // The error that stopped us is the one to tell.
        let _ = set(&Resources { devices: Vec::new(), ..before.clone() });
    })?;
    linux.resources = Some(after);
    Ok(warnings)
}

fn classify(container: &Container, linux: &mut Linux, l3: &str, bandwidth: &str) -> Result<(), Error> {
    if let Some(reason) = resctrl::lacks(!l3.is_empty(), !bandwidth.is_empty()) {
        return Err(Error::Resctrl { reason });
    }
    let Some(rdt) = &mut linux.intel_rdt else {
        return Err(Error::Resctrl {
            reason: "updating a non-existent Intel RDT configuration is not supported",
        });
    };
    resctrl::update(container.id(), rdt, l3, bandwidth).map_err(Error::Schemata)?;
    for (schema, own) in [(l3, &mut rdt.l3_cache_schema), (bandwidth, &mut rdt.mem_bw_schema)] {
        if !schema.is_empty() {
            schema.clone_into(own);
        }
    }
    Ok(())
}

/// What is written goes with what it depends on: a limit of memory with that of memory and swap, a quota with its period.
fn completed(changes: Resources, after: &Resources) -> Resources {
    let Resources { memory, cpu, .. } = changes;
    let memory = memory.map(|changed| Memory {
        limit: after.memory.as_ref().and_then(|memory| memory.limit),
        swap: after.memory.as_ref().and_then(|memory| memory.swap),
        ..changed
    });
    let cpu = cpu.map(|changed| {
        let timed = changed.quota.is_some() || changed.period.is_some();
        let all = after.cpu.as_ref().filter(|_| timed);
        Cpu { quota: all.and_then(|cpu| cpu.quota), period: all.and_then(|cpu| cpu.period), ..changed }
    });
    Resources { memory, cpu, ..changes }
}

/// Limits after a change. Zero is how documents say "not given".
fn merged(before: &Resources, changes: &Resources) -> Resources {
    let mut all = before.clone();
    if let Some(memory) = &changes.memory {
        merge_memory(all.memory.get_or_insert_default(), memory);
    }
    if let Some(cpu) = &changes.cpu {
        merge_cpu(all.cpu.get_or_insert_default(), cpu);
    }
    all.pids = changes.pids.or(all.pids);
    if let Some(io) = &changes.block_io {
        let own = all.block_io.get_or_insert_default();
        own.weight = io.weight.filter(|weight| *weight != 0).or(own.weight);
        own.leaf_weight = io.leaf_weight.filter(|weight| *weight != 0).or(own.leaf_weight);
        replace(&mut own.weight_device, &io.weight_device, |d| (d.major, d.minor));
        let lists = [
            (&mut own.throttle_read_bps_device, &io.throttle_read_bps_device),
            (&mut own.throttle_write_bps_device, &io.throttle_write_bps_device),
            (&mut own.throttle_read_iops_device, &io.throttle_read_iops_device),
            (&mut own.throttle_write_iops_device, &io.throttle_write_iops_device),
        ];
        for (own, changed) in lists {
            replace(own, changed, |d| (d.major, d.minor));
        }
    }
    replace(&mut all.hugepage_limits, &changes.hugepage_limits, |huge| huge.page_size.clone());
    all.network = changes.network.clone().or(all.network);
    all.rdma.extend(changes.rdma.clone());
    all.unified.extend(changes.unified.clone());
    all
}

fn merge_memory(own: &mut Memory, changed: &Memory) {
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    own.limit = given(changed.limit).or(own.limit);
    own.swap = given(changed.swap).or(own.swap);
    if changed.limit == Some(-1) && given(changed.swap).is_none() {
        // No limit of memory and swap goes with none of memory.
        own.swap = Some(-1);
    }
    own.reservation = given(changed.reservation).or(own.reservation);
    own.kernel = given(changed.kernel).or(own.kernel);
    own.kernel_tcp = given(changed.kernel_tcp).or(own.kernel_tcp);
    own.swappiness = changed.swappiness.or(own.swappiness);
    own.disable_oom_killer = changed.disable_oom_killer.or(own.disable_oom_killer);
    own.use_hierarchy = changed.use_hierarchy.or(own.use_hierarchy);
}

fn merge_cpu(own: &mut Cpu, changed: &Cpu) {
    let given = |value: Option<u64>| value.filter(|value| *value != 0);
    let signed = |value: Option<i64>| value.filter(|value| *value != 0);
    own.shares = given(changed.shares).or(own.shares);
    own.quota = signed(changed.quota).or(own.quota);
    own.period = given(changed.period).or(own.period);
    own.burst = changed.burst.or(own.burst);
    own.realtime_runtime = signed(changed.realtime_runtime).or(own.realtime_runtime);
    own.realtime_period = given(changed.realtime_period).or(own.realtime_period);
    own.idle = changed.idle.or(own.idle);
    for (own, changed) in [(&mut own.cpus, &changed.cpus), (&mut own.mems, &changed.mems)] {
        if !changed.is_empty() {
            own.clone_from(changed);
        }
    }
}

/// Items take the place of those with the same key.
fn replace<T: Clone, K: PartialEq>(own: &mut Vec<T>, changed: &[T], key: impl Fn(&T) -> K) {
    own.retain(|item| !changed.iter().any(|new| key(new) == key(item)));
    own.extend_from_slice(changed);
}

#[cfg(test)]
mod tests {
    use oci::runtime::ThrottleDevice;

    use super::*;

    fn memory(limit: Option<i64>, swap: Option<i64>) -> Resources {
        Resources { memory: Some(Memory { limit, swap, ..Memory::default() }), ..Resources::default() }
    }

    fn change(before: &Resources, changes: Resources) -> (Resources, Resources) {
        let after = merged(before, &changes);
        (completed(changes, &after), after)
    }

    #[test]
    fn half_of_a_pair_is_set_with_its_other_half() {
        let before = memory(Some(64), Some(128));
        let (wanted, after) = change(&before, memory(Some(100), None));
        assert_eq!((&wanted, &after), (&memory(Some(100), Some(128)), &memory(Some(100), Some(128))));
        let (wanted, _) = change(&before, memory(Some(-1), None));
        assert_eq!(wanted, memory(Some(-1), Some(-1)));
        let cpu = |quota, period| Resources {
            cpu: Some(Cpu { quota, period, ..Cpu::default() }),
            ..Resources::default()
        };
        let (wanted, _) = change(&cpu(Some(5), Some(7)), cpu(Some(6), None));
        assert_eq!(wanted, cpu(Some(6), Some(7)));
        let (wanted, after) = change(
            &cpu(Some(5), Some(7)),
            Resources { cpu: Some(Cpu { shares: Some(2), ..Cpu::default() }), ..Resources::default() },
        );
        let wanted = wanted.cpu.unwrap();
        assert_eq!((wanted.quota, wanted.period, wanted.shares), (None, None, Some(2)));
        assert_eq!(after.cpu.unwrap().quota, Some(5));
    }

    #[test]
    fn what_is_not_given_stays() {
        let before = memory(Some(64), None);
        assert_eq!(merged(&before, &Resources::default()), before);
        assert_eq!(merged(&before, &memory(Some(0), None)), before);
        let io = |rate| {
            let device = ThrottleDevice { major: 8, minor: 0, rate };
            let block_io = oci::runtime::BlockIo {
                throttle_read_bps_device: vec![device],
                ..oci::runtime::BlockIo::default()
            };
            Resources { block_io: Some(block_io), ..Resources::default() }
        };
        assert_eq!(merged(&io(5), &io(6)), io(6), "a device has one rate");
    }
}
