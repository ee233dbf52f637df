use api::images::HistoryItem;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::format::text::{ellipsis, short_id};
use crate::format::units::human_size_with;
use crate::format::{Listing, time};
use crate::options::platform;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Sizes and dates for people
    #[arg(short = 'H', long, default_value_t = true)]
    human: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Of an image for several platforms, this one's
    #[arg(long)]
    platform: Option<String>,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let platform = platform::document(args.platform.as_deref())?;
    let history = client::images::history(cli.client()?, &args.args[0], &platform).await?;
    let now = Timestamp::now();
    let rows: Vec<_> = history.iter().map(|item| row(item, args.human, !args.no_trunc, now)).collect();
    let created = if args.human { "{{.CreatedSince}}" } else { "{{.CreatedAt}}" };
    let listing = Listing {
        table: format!("{{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}"),
        quiet: "{{.ID}}",
        raw: "",
        columns: &[
            ("ID", "IMAGE"),
            ("CreatedSince", "CREATED"),
            ("CreatedAt", "CREATED AT"),
            ("CreatedBy", "CREATED BY"),
            ("Size", "SIZE"),
            ("Comment", "COMMENT"),
        ],
        labels: false,
    };
    cli.print(&listing.render(args.format.as_deref(), args.quiet, &rows)?)?;
    Ok(0)
}

fn row(item: &HistoryItem, human: bool, short: bool, now: Timestamp) -> Map<String, Value> {
    let created = Timestamp::from_second(item.created).unwrap_or_default();
    let by = item.created_by.replace('\t', " ");
    crate::row! {
        "ID": if short { short_id(&item.id) } else { &item.id },
        "CreatedSince": if item.created <= 0 { "N/A".to_owned() } else { time::ago(now, created) },
        "CreatedAt": api::time::rfc3339(created),
        "CreatedBy": if short { ellipsis(&by, 45) } else { by },
        "Size": if human { human_size_with(item.size as f64, 3) } else { item.size.to_string() },
        "Comment": item.comment,
    }
}
