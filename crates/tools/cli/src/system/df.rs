use api::system::DiskUsage;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::format::Listing;
use crate::format::units::human_size;
use crate::verbs::Outcome;

mod verbose;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Show each object
    #[arg(short, long)]
    verbose: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let usage = match args.verbose {
        true => client::system::df_of_disk(cli.client()?).await?,
        false => client::system::df(cli.client()?, &[]).await?,
    };
    let text = match args.verbose {
        true => verbose::render(&usage, args.format.as_deref(), Timestamp::now())?,
        false => listing().render(args.format.as_deref(), false, &summary(&usage))?,
    };
    cli.print(&text)?;
    Ok(0)
}

fn listing() -> Listing {
    Listing {
        table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}".to_owned(),
        quiet: "",
        raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: \
              {{.Reclaimable}}\n",
        columns: &[
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        ],
        labels: false,
    }
}

fn summary(usage: &DiskUsage) -> Vec<Map<String, Value>> {
    let images = usage.images.as_deref().unwrap_or_default();
    let used: i64 = images
        .iter()
        .filter(|image| image.containers != 0 && image.shared_size != -1)
        .map(|image| image.size - image.shared_size)
        .sum();
    let active = images.iter().filter(|image| image.containers > 0).count();
    // Docker counts layers that images share as not reclaimable only when nothing else remains.
    let free = if images.is_empty() { 0 } else { (usage.layers_size - used).max(0) };
    let mut rows = vec![row("Images", images.len(), active, usage.layers_size, free, true)];

    let containers = usage.containers.as_deref().unwrap_or_default();
    let running = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let active = containers.iter().filter(|container| running(&container.state)).count();
    let size = containers.iter().map(|container| container.size_rw).sum();
    let free = containers.iter().filter(|container| !running(&container.state)).map(|c| c.size_rw).sum();
    rows.push(row("Containers", containers.len(), active, size, free, true));

    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let known = || volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
    let active = known().filter(|usage| usage.ref_count > 0).count();
    let size = known().map(|usage| usage.size.max(0)).sum();
    let free = known().filter(|usage| usage.ref_count == 0).map(|usage| usage.size.max(0)).sum();
    rows.push(row("Local Volumes", volumes.len(), active, size, free, true));

    let cache = usage.build_cache.as_deref().unwrap_or_default();
    let active = cache.iter().filter(|record| record.in_use).count();
    let size = cache.iter().filter(|record| !record.shared).map(|record| record.size).sum();
    let free = cache.iter().filter(|record| !record.in_use && !record.shared).map(|record| record.size).sum();
    rows.push(row("Build Cache", cache.len(), active, size, free, false));
    rows
}

fn row(kind: &str, total: usize, active: usize, size: i64, free: i64, percent: bool) -> Map<String, Value> {
    let mut reclaimable = human_size(free as f64);
    if percent && size > 0 {
        reclaimable.push_str(&format!(" ({}%)", free * 100 / size));
    }
    crate::row! {
        "Type": kind,
        "TotalCount": total.to_string(),
        "Active": active.to_string(),
        "Size": human_size(size as f64),
        "Reclaimable": reclaimable,
    }
}
