//! `docker top`.

use std::collections::HashMap;
use std::path::Path;

use api::containers::TopResponse;
use jiff::Timestamp;
use monitor::State;

use super::{launch, ps, record};
use crate::Engine;
use crate::error::{Context, Error, Result};

/// The processes of a running container, with the columns that `ps_args` ask for.
pub async fn top(engine: &Engine, reference: &str, ps_args: &str) -> Result<TopResponse> {
    let (reference, ps_args) = (reference.to_owned(), ps_args.to_owned());
    engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            let headings = ps::headings(&ps_args)?;
            let status = record::observe(engine, &record.id)?.status;
            match status.state {
                State::Running | State::Paused => {}
                State::Restarting => {
                    return Err(Error::conflict(format!(
                        "container {} is restarting, wait until the container is running",
                        record.id
                    )));
                }
                _ => return Err(Error::conflict(format!("container {} is not running", record.id))),
            }
            let group = runtime::cgroup::Cgroup::new(&launch::cgroup_path(&record)).system()?;
            let mut pids = match group.exists() {
                true => group.pids().during("list the container's processes")?,
                false => in_namespace_of(status.pid),
            };
            pids.sort_unstable();
            let machine = machine();
            let processes = pids
                .iter()
                // One that has ended in between is no error.
                .filter_map(|pid| ps::read(Path::new("/proc"), *pid))
                .map(|p| ps::row(&headings, &p, &machine))
                .collect();
            Ok(TopResponse { processes, titles: ps::titles(&headings) })
        })
        .await
}

/// Where there are no control groups: who lives in a pid namespace other than ours with this process, or it alone.
fn in_namespace_of(pid: i32) -> Vec<i32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(&pid.to_string());
    if theirs.is_none() || theirs == namespace("self") {
        return vec![pid];
    }
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| namespace(name) == theirs).filter_map(|name| name.parse().ok()).collect()
}

fn machine() -> ps::Machine {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = HashMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse::<u32>)) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    ps::Machine {
        uptime: uptime.split_whitespace().next().and_then(|t| t.parse().ok()).unwrap_or(0.0),
        memory_kib: crate::machine::memory() / 1024,
        now: Timestamp::now(),
        users,
    }
}
