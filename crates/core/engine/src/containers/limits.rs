//! Limits that this machine cannot enforce: they are dropped with one warning each, in Docker's words, instead of being
//! promised.

use api::containers::{HostConfig, Resources, Ulimit};
use runtime::cgroup::Controllers;
use rustix::process::Resource;

use crate::error::{Error, Result};
use crate::privileges;

/// Whether anything is asked of a controller, so that a plain create needs not look at the machine.
pub(super) fn are_asked(r: &Resources) -> bool {
    let memory = r.memory > 0
        || r.memory_reservation > 0
        || r.memory_swappiness.is_some()
        || r.oom_kill_disable.is_some();
    let cpu = r.cpu_shares != 0 || r.cpu_period != 0 || r.cpu_quota != 0 || r.nano_cpus != 0;
    let cpuset = !r.cpuset_cpus.is_empty() || !r.cpuset_mems.is_empty();
    memory
        || cpu
        || cpuset
        || r.pids_limit.is_some()
        || r.blkio_weight != 0
        || !r.blkio_weight_device.is_empty()
}

/// What is asked of limits of processes that cannot be raised so far here, and what applies instead; in one warning.
pub(super) fn unreachable(host: &HostConfig) -> Option<String> {
    let any = !host.resources.ulimits.is_empty() || host.oom_score_adj != 0;
    if !any || privileges::raises_limits() {
        return None;
    }
    let mut lowered: Vec<String> = host.resources.ulimits.iter().filter_map(lowered).collect();
    let own =
        std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    if let Some(own) = own.filter(|own| host.oom_score_adj < *own && host.oom_score_adj != 0) {
        lowered.push(format!("oom-score-adj {} is {own}", host.oom_score_adj));
    }
    (!lowered.is_empty()).then(|| {
        format!(
            "Limits are applied as far as they are allowed here: {}. CAP_SYS_RESOURCE is missing for more: run this as the \
             machine's own root, inside of a container give that one --cap-add SYS_RESOURCE",
            lowered.join(", ")
        )
    })
}

/// A limit that is above what this process may have, and with it all that it starts.
fn lowered(limit: &Ulimit) -> Option<String> {
    let value = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    let text = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
    let most = rustix::process::getrlimit(resource(&limit.name)?).maximum.unwrap_or(u64::MAX);
    let (soft, hard) = (value(limit.soft), value(limit.hard));
    let pair = |soft, hard| format!("{}:{}", text(soft), text(hard));
    let applied = pair(soft.min(most), hard.min(most));
    (hard > most).then(|| format!("ulimit {}={} is {applied}", limit.name, pair(soft, hard)))
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// Drops what the machine has no controller for; gives the warnings.
pub(super) fn discard(r: &mut Resources, machine: &Controllers) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut lacks = |what: &str, consequence: &str| {
        warnings.push(format!(
            "Your kernel does not support {what} or the cgroup is not mounted. {consequence}."
        ));
    };
    if !machine.has("memory") {
        if r.memory > 0 {
            lacks("memory limit capabilities", "Limitation discarded");
            (r.memory, r.memory_swap) = (0, 0);
        }
        if r.memory_reservation > 0 {
            lacks("memory soft limit capabilities", "Limitation discarded");
            r.memory_reservation = 0;
        }
    }
    if !machine.has_v1("memory") {
        if r.memory_swappiness.take().is_some() {
            lacks("memory swappiness capabilities", "Memory swappiness discarded");
        }
        if r.oom_kill_disable.take() == Some(true) {
            lacks("OomKillDisable", "OomKillDisable discarded");
        }
    }
    if !machine.has("pids") && r.pids_limit.take().is_some() {
        lacks("PIDs limit capabilities", "PIDs limit discarded");
    }
    if !machine.has("cpu") {
        if r.nano_cpus != 0 {
            return Err(Error::invalid(
                "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
            ));
        }
        if r.cpu_shares != 0 {
            lacks("CPU shares", "Shares discarded");
            r.cpu_shares = 0;
        }
        if r.cpu_period != 0 || r.cpu_quota != 0 {
            lacks("CPU CFS scheduler", "CPU period/quota discarded");
            (r.cpu_period, r.cpu_quota) = (0, 0);
        }
    }
    let wants_cpuset = !r.cpuset_cpus.is_empty() || !r.cpuset_mems.is_empty();
    if wants_cpuset && !machine.has("cpuset") {
        lacks("cpuset", "Cpuset discarded");
        (r.cpuset_cpus, r.cpuset_mems) = Default::default();
    }
    if !machine.weighs_io() && (r.blkio_weight != 0 || !r.blkio_weight_device.is_empty()) {
        lacks("Block I/O weight", "Weight discarded");
        (r.blkio_weight, r.blkio_weight_device) = Default::default();
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_controller_enforces_is_dropped_with_a_warning() {
        let mut asked = Resources {
            memory: 64 << 20,
            memory_swap: 64 << 20,
            pids_limit: Some(50),
            cpu_shares: 512,
            cpuset_cpus: "0".to_owned(),
            blkio_weight: 100,
            ..Resources::default()
        };
        assert!(are_asked(&asked) && !are_asked(&Resources::default()));
        let warnings = discard(&mut asked, &Controllers::default()).unwrap();
        assert_eq!(asked, Resources::default());
        assert_eq!(warnings.len(), 5, "{warnings:?}");
        let memory = "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.";
        assert_eq!(warnings[0], memory);
        let mut asked =
            Resources { memory_swappiness: Some(5), oom_kill_disable: Some(true), ..Resources::default() };
        let warnings = discard(&mut asked, &Controllers::default()).unwrap();
        assert_eq!((asked, warnings.len()), (Resources::default(), 2), "only version 1 has them");
        let mut asked = Resources { nano_cpus: 500_000_000, ..Resources::default() };
        assert!(discard(&mut asked, &Controllers::default()).is_err());
    }
}
