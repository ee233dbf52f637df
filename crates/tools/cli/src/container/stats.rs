use std::collections::BTreeMap;
use std::time::Duration;

use api::containers::{ListOptions, Stats, StatsOptions};
use client::Client;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::context::Cli;
use crate::error::Error;
use crate::format::Listing;
use crate::format::text::short_id;
use crate::format::units::{bytes_size, human_size_with};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Print once
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    args: Vec<String>,
}

/// Time between two screens.
const REFRESH: Duration = Duration::from_millis(500);

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    match args.no_stream {
        true => once(cli, &args).await,
        false => live(cli, &args).await,
    }
}

async fn targets(client: &Client, args: &Args) -> Result<Vec<String>, Error> {
    if !args.args.is_empty() {
        return Ok(args.args.clone());
    }
    let options = ListOptions { all: args.all, ..ListOptions::default() };
    Ok(client::containers::list(client, &options).await?.into_iter().map(|container| container.id).collect())
}

async fn once(cli: &Cli, args: &Args) -> Outcome {
    let client = cli.client()?;
    let names = targets(client, args).await?;
    let options = StatsOptions { stream: false, one_shot: false };
    let samples = names.iter().map(|name| async {
        let mut lines = client::containers::stats(client, name, &options).await?;
        lines.next().await.transpose()
    });
    let samples = futures_util::future::join_all(samples).await;
    let mut rows = Vec::new();
    for (name, sample) in names.iter().zip(samples) {
        rows.push(row(name, sample?.as_ref(), !args.no_trunc));
    }
    cli.print(&listing().render(args.format.as_deref(), false, &rows)?)?;
    Ok(0)
}

/// One container's stream of samples.
struct Watched {
    latest: Option<Stats>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum News {
    Sample(String, Box<Stats>),
    Ended(String, Option<client::Error>),
}

async fn live(cli: &Cli, args: &Args) -> Outcome {
    let client = cli.client()?;
    let (sender, mut news) = mpsc::unbounded_channel();
    let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
    let mut order = Vec::new();
    let mut screen = tokio::time::interval(REFRESH);
    let mut rounds = 0_u32;
    loop {
        // Containers come and go; named ones are watched until they are gone.
        if rounds.is_multiple_of(4) && (args.args.is_empty() || rounds == 0) {
            order = targets(client, args).await?;
            watched.retain(|id, _| order.contains(id));
            for id in &order {
                if !watched.contains_key(id) {
                    let task = tokio::spawn(watch(client.clone(), id.clone(), sender.clone()));
                    watched.insert(id.clone(), Watched { latest: None, task });
                }
            }
        }
        screen.tick().await;
        while let Ok(item) = news.try_recv() {
            match item {
                News::Sample(id, stats) => {
                    if let Some(entry) = watched.get_mut(&id) {
                        entry.latest = Some(*stats);
                    }
                }
                News::Ended(_, Some(error)) if !args.args.is_empty() => return Err(error.into()),
                News::Ended(id, _) => {
                    watched.remove(&id);
                    order.retain(|known| *known != id);
                }
            }
        }
        if watched.is_empty() && !args.args.is_empty() {
            return Ok(0);
        }
        rounds = rounds.wrapping_add(1);
        let rows: Vec<_> = order
            .iter()
            .map(|id| row(id, watched.get(id).and_then(|w| w.latest.as_ref()), !args.no_trunc))
            .collect();
        let text = listing().render(args.format.as_deref(), false, &rows)?;
        match cli.stdout_is_terminal() {
            // Each line is cleared to its end, then the rest of the screen: no flicker.
            true => cli.print(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")))?,
            false => cli.print(&text)?,
        }
    }
}

async fn watch(client: Client, id: String, sender: mpsc::UnboundedSender<News>) {
    let options = StatsOptions { stream: true, one_shot: false };
    let mut lines = match client::containers::stats(&client, &id, &options).await {
        Ok(lines) => lines,
        Err(error) => {
            let _ = sender.send(News::Ended(id, Some(error)));
            return;
        }
    };
    while let Some(Ok(stats)) = lines.next().await {
        if sender.send(News::Sample(id.clone(), Box::new(stats))).is_err() {
            return;
        }
    }
    let _ = sender.send(News::Ended(id, None));
}

fn listing() -> Listing {
    Listing {
        table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
            .to_owned(),
        quiet: "{{.ID}}",
        raw: "",
        columns: &[
            ("Container", "CONTAINER"),
            ("ID", "CONTAINER ID"),
            ("Name", "NAME"),
            ("CPUPerc", "CPU %"),
            ("MemUsage", "MEM USAGE / LIMIT"),
            ("MemPerc", "MEM %"),
            ("NetIO", "NET I/O"),
            ("BlockIO", "BLOCK I/O"),
            ("PIDs", "PIDS"),
        ],
        labels: false,
    }
}

fn row(name: &str, stats: Option<&Stats>, short: bool) -> Map<String, Value> {
    let Some(stats) = stats else {
        return crate::row! {
            "Container": name, "ID": short_id(name), "Name": "--", "CPUPerc": "--", "MemUsage": "-- / --",
            "MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--",
        };
    };
    let used = memory_used(stats);
    let limit = stats.memory_stats.limit as f64;
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let network = stats.networks.values().fold((0, 0), |sum, n| (sum.0 + n.rx_bytes, sum.1 + n.tx_bytes));
    let block = block_bytes(stats);
    let pair = |(first, second): (u64, u64)| {
        format!("{} / {}", human_size_with(first as f64, 3), human_size_with(second as f64, 3))
    };
    crate::row! {
        "Container": name,
        "ID": if short { short_id(&stats.id) } else { &stats.id },
        "Name": stats.name.trim_start_matches('/'),
        "CPUPerc": format!("{:.2}%", cpu_percent(stats)),
        "MemUsage": format!("{} / {}", bytes_size(used), bytes_size(limit)),
        "MemPerc": format!("{percent:.2}%"),
        "NetIO": pair(network),
        "BlockIO": pair(block),
        "PIDs": stats.pids_stats.current.to_string(),
    }
}

/// Share of one CPU since the sample before: 200 % is two CPUs.
fn cpu_percent(stats: &Stats) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now.cpu_usage.total_usage.saturating_sub(before.cpu_usage.total_usage) as f64;
    let total = now.system_cpu_usage.saturating_sub(before.system_cpu_usage) as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len().max(1) as f64,
        cpus => cpus.into(),
    };
    if total > 0.0 && used > 0.0 { used / total * cpus * 100.0 } else { 0.0 }
}

/// Usage without the page cache that the kernel would give back first.
fn memory_used(stats: &Stats) -> f64 {
    let memory = &stats.memory_stats;
    let cache =
        ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory.stats.get(*name)).copied();
    memory.usage.saturating_sub(cache.filter(|cache| *cache < memory.usage).unwrap_or(0)) as f64
}

fn block_bytes(stats: &Stats) -> (u64, u64) {
    let entries = stats.blkio_stats.io_service_bytes_recursive.iter().flatten();
    entries.fold((0, 0), |sum, entry| match entry.op.chars().next().map(|c| c.to_ascii_lowercase()) {
        Some('r') => (sum.0 + entry.value, sum.1),
        Some('w') => (sum.0, sum.1 + entry.value),
        _ => sum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_as_a_line() {
        let stats: Stats = serde_json::from_value(serde_json::json!({
            "name": "/web", "id": "0123456789abcdef", "read": "2024-01-01T00:00:00Z", "pids_stats": {"current": 3},
            "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 200}, "system_cpu_usage": 1000},
            "memory_stats": {"usage": 3145728, "limit": 1073741824_u64, "stats": {"inactive_file": 1048576}},
            "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2500}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "read", "value": 4096}, {"op": "write", "value": 1}, {"op": "Read", "value": 4}]}
        }))
        .unwrap();
        let text = listing().render(None, false, &[row("x", Some(&stats), true)]).unwrap();
        assert_eq!(
            text,
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O    PIDS\n\
             0123456789ab   web       20.00%    2MiB / 1GiB         0.20%     1kB / 2.5kB   4.1kB / 1B   3\n"
        );
        assert_eq!(row("x", None, true)["MemUsage"], "-- / --");
        let stopped: Stats =
            serde_json::from_value(serde_json::json!({"name": "/web", "id": "0123456789abcdef"})).unwrap();
        let row = row("x", Some(&stopped), true);
        assert_eq!((&row["ID"], &row["Name"]), (&"0123456789ab".into(), &"web".into()));
        assert_eq!((&row["MemUsage"], &row["PIDs"]), (&"0B / 0B".into(), &"0".into()));
    }
}
