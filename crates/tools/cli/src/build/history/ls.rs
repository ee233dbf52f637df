use std::path::{Path, PathBuf};

use super::filter::Filter;
use crate::buildx::builders::NAME as BUILDER;
use crate::context::Cli;
use crate::format::{Listing, time};
use crate::settings;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Builder whose builds are listed; there is one
    #[arg(long, hide = true)]
    builder: Option<String>,
    /// Only builds for which this holds: ref, repository, status with = or !=; startedAt, completedAt, duration with <, <=, > or >=
    #[arg(long, value_name = "condition")]
    filter: Vec<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Only builds of this directory's repository
    #[arg(long)]
    local: bool,
    /// Accepted for old scripts: ids are short
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let format = settings::format(cli, args.format, args.quiet, "buildsFormat")?;
    let now = jiff::Timestamp::now();
    let filter = Filter::parse(&args.filter, now)?;
    let place = args.local.then(|| repository(&cli.host.directory));
    let mut records = client::builds::history(cli.client()?).await?;
    records.retain(|record| {
        let is_here = |place: &PathBuf| Path::new(&record.name).starts_with(place);
        filter.admits(record) && place.as_ref().is_none_or(is_here)
    });
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let begun = api::time::parse(&record.started_at).unwrap_or_default();
            let steps = record.counts();
            let status = match record.status.split_at_checked(1) {
                Some((first, rest)) => first.to_ascii_uppercase() + rest,
                None => String::new(),
            };
            let mut row = crate::row! {
                "ID": record.id,
                "Ref": record.id,
                "Name": record.name,
                "Status": status,
                "CreatedAt": time::ago(now, begun),
                "Duration": super::took(record),
                "Cached": format!("{}/{}", steps.cached, record.steps.len()),
                "Tags": record.tags.join(","),
                // What Docker's plugin has in JSON, for programs that were written for it.
                "ref": format!("{BUILDER}/{BUILDER}/{}", record.id),
                "name": record.name,
                "status": status,
                "created_at": record.started_at,
                "total_steps": steps.total,
                "completed_steps": steps.completed,
                "cached_steps": steps.cached,
            };
            if !record.completed_at.is_empty() {
                row.insert("completed_at".to_owned(), record.completed_at.clone().into());
            }
            row
        })
        .collect();
    let listing = Listing {
        table: "{{.ID}}\t{{.Name}}\t{{.Status}}\t{{.CreatedAt}}\t{{.Duration}}\t{{.Cached}}\t{{.Tags}}"
            .to_owned(),
        quiet: "{{.ID}}",
        raw: "build_id: {{.ID}}\nname: {{.Name}}\nstatus: {{.Status}}\n",
        columns: &[
            ("ID", "BUILD ID"),
            ("Ref", "BUILD REF"),
            ("Name", "NAME"),
            ("Status", "STATUS"),
            ("CreatedAt", "CREATED AT"),
            ("Duration", "DURATION"),
            ("Cached", "CACHED"),
            ("Tags", "TAGS"),
        ],
        labels: false,
    };
    cli.print(&listing.render(format.as_deref(), args.quiet, &rows)?)?;
    Ok(0)
}

/// The working tree that a directory lies in, or the directory itself.
fn repository(directory: &Path) -> PathBuf {
    let top = directory.ancestors().find(|path| path.join(".git").exists());
    top.unwrap_or(directory).to_owned()
}
