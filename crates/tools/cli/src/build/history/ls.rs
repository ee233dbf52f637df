use crate::context::Cli;
use crate::format::{Listing, time};
use crate::settings;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Builder whose builds are listed; there is one
    #[arg(long, hide = true)]
    builder: Option<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
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
    let records = client::builds::history(cli.client()?).await?;
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let begun = api::time::parse(&record.started_at).unwrap_or_default();
            let cached = record.steps.iter().filter(|step| step.status == "CACHED").count();
            let status = match record.status.as_bytes() {
                [first, rest @ ..] => [&[first.to_ascii_uppercase()], rest].concat(),
                [] => Vec::new(),
            };
            crate::row! {
                "ID": record.id,
                "Ref": record.id,
                "Name": record.name,
                "Status": String::from_utf8_lossy(&status).into_owned(),
                "CreatedAt": time::ago(now, begun),
                "Duration": super::took(record),
                "Cached": format!("{cached}/{}", record.steps.len()),
                "Tags": record.tags.join(","),
            }
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
