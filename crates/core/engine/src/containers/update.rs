//! `docker update`.

use api::containers::{Resources, UpdateRequest, UpdateResponse};

use super::{devices, launch, record, validate};
use crate::error::{Error, Result};
use crate::{Engine, events, machine, spec};

/// Changes limits and the restart policy of a container, at once if it runs.
pub async fn update(engine: &Engine, reference: &str, request: UpdateRequest) -> Result<UpdateResponse> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let found = record::find(engine, &reference)?;
            let (_lock, mut record) = record::locked(engine, &found.id)?;
            let host = &mut record.document.host_config;
            let new_policy = !request.restart_policy.name.is_empty();
            if new_policy {
                if host.auto_remove && request.restart_policy.name != "no" {
                    return Err(Error::conflict(
                        "Restart policy cannot be updated because AutoRemove is enabled for the container",
                    ));
                }
                validate::check_restart(&request.restart_policy, host.auto_remove)?;
                host.restart_policy = request.restart_policy.clone();
            }
            merge(&mut host.resources, &request.resources)?;
            validate::check_resources(&host.resources, machine::facts().limits())?;
            let mut limits = spec::resources(&host.resources, &devices::block_numbers(&host.resources)?)?;
            if request.resources.pids_limit.is_some() && limits.pids.is_none() {
                // One that runs has to be told that its limit is gone.
                limits.pids = Some(oci::runtime::Pids { limit: -1 });
            }
            let policy = launch::restart_policy(&host.restart_policy);
            let live = record::observe(engine, &record.id)?.status.state.is_live();
            if live && let Some(mut monitor) = monitor::client::connect(&engine.config().run, &record.id)? {
                monitor.update(Some(limits), new_policy.then_some(policy)).map_err(|e| {
                    Error::from(e).within(format_args!("Cannot update container {}", record.id))
                })?;
            }
            record::save(engine, &record)?;
            events::emit_container(engine, "update", &record, &[]);
            Ok(UpdateResponse { warnings: Vec::new() })
        })
        .await
}

/// Takes over what the request says; zero says nothing.
fn merge(own: &mut Resources, new: &Resources) -> Result<()> {
    if new.memory > 0 && own.memory_swap > 0 && new.memory_swap == 0 && new.memory > own.memory_swap {
        return Err(Error::invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    for (own, new) in [
        (&mut own.cpu_shares, new.cpu_shares),
        (&mut own.memory, new.memory),
        (&mut own.memory_swap, new.memory_swap),
        (&mut own.memory_reservation, new.memory_reservation),
        (&mut own.cpu_period, new.cpu_period),
        (&mut own.cpu_quota, new.cpu_quota),
        (&mut own.cpu_realtime_period, new.cpu_realtime_period),
        (&mut own.cpu_realtime_runtime, new.cpu_realtime_runtime),
    ] {
        if new != 0 {
            *own = new;
        }
    }
    if new.nano_cpus != 0 {
        (own.nano_cpus, own.cpu_period, own.cpu_quota) = (new.nano_cpus, 0, 0);
    } else if new.cpu_period != 0 || new.cpu_quota != 0 {
        own.nano_cpus = 0;
    }
    for (own, new) in [(&mut own.cpuset_cpus, &new.cpuset_cpus), (&mut own.cpuset_mems, &new.cpuset_mems)] {
        if !new.is_empty() {
            own.clone_from(new);
        }
    }
    if new.blkio_weight != 0 {
        own.blkio_weight = new.blkio_weight;
    }
    if let Some(limit) = new.pids_limit {
        own.pids_limit = Some(limit).filter(|n| *n > 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_says_nothing() {
        let mut own = Resources {
            memory: 100,
            memory_swap: 200,
            cpu_quota: 5000,
            pids_limit: Some(9),
            ..Resources::default()
        };
        merge(
            &mut own,
            &Resources { nano_cpus: 2_000_000_000, pids_limit: Some(-1), ..Resources::default() },
        )
        .unwrap();
        assert_eq!((own.memory, own.cpu_quota, own.nano_cpus, own.pids_limit), (100, 0, 2_000_000_000, None));
        let e = merge(&mut own, &Resources { memory: 300, ..Resources::default() }).unwrap_err();
        assert!(e.message.starts_with("Memory limit should be smaller"));
        merge(&mut own, &Resources { memory: 300, memory_swap: -1, ..Resources::default() }).unwrap();
        assert_eq!((own.memory, own.memory_swap), (300, -1));
    }
}
