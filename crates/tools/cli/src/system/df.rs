use api::system::{DiskShare, DiskUsage};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::error::Error;
use crate::format::Listing;
use crate::format::text::short_id;
use crate::format::time::ago;
use crate::format::units::{human_size, human_size_with};
use crate::verbs::Outcome;
use crate::{container, image, volume};

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
    if args.verbose && args.format.is_some() {
        return Err(Error::new("--format and --verbose cannot be used together"));
    }
    let usage = match args.verbose {
        true => client::system::df_of_disk(cli.client()?).await?,
        false => client::system::df(cli.client()?, &[]).await?,
    };
    let text = match args.verbose {
        true => verbose(&usage, Timestamp::now())?,
        false => listing().render(args.format.as_deref(), false, &summary(&usage))?,
    };
    cli.print(&text)?;
    Ok(0)
}

fn listing() -> Listing {
    Listing {
        table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}".to_owned(),
        quiet: "",
        raw: "",
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

fn verbose(usage: &DiskUsage, now: Timestamp) -> Result<String, Error> {
    let mut out = String::from("Images space usage:\n\n");
    let images = usage.images.as_deref().unwrap_or_default();
    let rows: Vec<_> = images.iter().flat_map(|item| image::ls::rows(item, false, true, now)).collect();
    let table = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.VirtualSize}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    let listing = Listing { table: table.to_owned(), ..image::ls::listing(false) };
    out.push_str(&listing.render(None, false, &rows)?);

    out.push_str("\nContainers space usage:\n\n");
    let containers = usage.containers.as_deref().unwrap_or_default();
    let rows: Vec<_> = containers.iter().map(|item| container::ls::row(item, true, now)).collect();
    let table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    let listing = Listing { table: table.to_owned(), ..container::ls::listing(false) };
    out.push_str(&listing.render(None, false, &rows)?);

    out.push_str("\nLocal Volumes space usage:\n\n");
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let rows: Vec<_> = volumes.iter().map(volume::ls::row).collect();
    let listing = Listing { table: "{{.Name}}\t{{.Links}}\t{{.Size}}".to_owned(), ..volume::ls::listing() };
    out.push_str(&listing.render(None, false, &rows)?);

    let cache = usage.build_cache.as_deref().unwrap_or_default();
    let total: i64 = cache.iter().filter(|record| !record.shared).map(|record| record.size).sum();
    out.push_str(&format!("\nBuild cache usage: {}\n\n", human_size(total as f64)));
    let rows: Vec<_> = cache
        .iter()
        .map(|record| {
            let since = |text: &str| api::time::parse(text).map_or("N/A".to_owned(), |at| ago(now, at));
            crate::row! {
                "ID": short_id(&record.id),
                "CacheType": record.typ,
                "Size": human_size_with(record.size as f64, 3),
                "CreatedSince": since(&record.created_at),
                "LastUsedSince": record.last_used_at.as_deref().map_or("N/A".to_owned(), since),
                "UsageCount": record.usage_count.to_string(),
                "Shared": record.shared.to_string(),
            }
        })
        .collect();
    let listing = Listing {
        table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}"
            .to_owned(),
        quiet: "",
        raw: "",
        columns: &[
            ("ID", "CACHE ID"),
            ("CacheType", "CACHE TYPE"),
            ("Size", "SIZE"),
            ("CreatedSince", "CREATED"),
            ("LastUsedSince", "LAST USED"),
            ("UsageCount", "USAGE"),
            ("Shared", "SHARED"),
        ],
        labels: false,
    };
    out.push_str(&listing.render(None, false, &rows)?);
    if let Some(disk) = &usage.disk {
        out.push_str(&disk_usage(disk)?);
    }
    Ok(out)
}

/// What each byte is for, which only our servers tell.
fn disk_usage(disk: &[DiskShare]) -> Result<String, Error> {
    let total: i64 = disk.iter().map(|share| share.size).sum();
    let rows: Vec<_> = disk
        .iter()
        .map(|share| {
            crate::row! {
                "Kind": share.kind,
                "Files": share.files.to_string(),
                "Size": human_size_with(share.size as f64, 3),
                "Purpose": share.purpose,
            }
        })
        .collect();
    let listing = Listing {
        table: "{{.Kind}}\t{{.Files}}\t{{.Size}}\t{{.Purpose}}".to_owned(),
        quiet: "",
        raw: "",
        columns: &[("Kind", "KIND"), ("Files", "FILES"), ("Size", "SIZE"), ("Purpose", "PURPOSE")],
        labels: false,
    };
    let table = listing.render(None, false, &rows)?;
    Ok(format!("\nDisk usage: {}\n\n{table}", human_size_with(total as f64, 3)))
}
