use api::volumes::Volume;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::error::Error;
use crate::format::Listing;
use crate::format::listing::LABELS;
use crate::format::text::pairs;
use crate::format::units::human_size;
use crate::options::filter;
use crate::settings;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Not supported: there is no cluster
    #[arg(long, hide = true)]
    cluster: bool,
    /// Only what matches, such as "dangling=true" or "label=key"
    #[arg(short, long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.cluster {
        return Err(Error::new("--cluster is not supported: there is no cluster"));
    }
    let filters = filter::parse(&args.filter);
    let format = settings::format(cli, args.format, args.quiet, "volumesFormat")?;
    let mut volumes = client::volumes::list(cli.client()?, &filters).await?.volumes;
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<_> = volumes.iter().map(row).collect();
    cli.print(&listing().render(format.as_deref(), args.quiet, &rows)?)?;
    Ok(0)
}

/// How volumes are listed.
pub fn listing() -> Listing {
    Listing {
        table: "{{.Driver}}\t{{.Name}}".to_owned(),
        quiet: "{{.Name}}",
        raw: "name: {{.Name}}\ndriver: {{.Driver}}\n",
        columns: &[
            ("Name", "VOLUME NAME"),
            ("Driver", "DRIVER"),
            ("Scope", "SCOPE"),
            ("Mountpoint", "MOUNTPOINT"),
            ("Labels", "LABELS"),
            ("Links", "LINKS"),
            ("Size", "SIZE"),
            ("Status", "STATUS"),
            ("Availability", "AVAILABILITY"),
            ("Group", "GROUP"),
        ],
        labels: true,
    }
}

/// One volume's fields.
pub fn row(volume: &Volume) -> Map<String, Value> {
    let usage = volume.usage_data.as_ref();
    let links = usage.map_or("N/A".to_owned(), |usage| usage.ref_count.to_string());
    let size =
        usage.filter(|usage| usage.size >= 0).map_or("N/A".to_owned(), |usage| human_size(usage.size as f64));
    crate::row! {
        "Name": volume.name,
        "Driver": volume.driver,
        "Scope": volume.scope,
        "Mountpoint": volume.mountpoint,
        "Labels": pairs(&volume.labels),
        "Links": links,
        "Size": size,
        // Cluster volumes alone have these.
        "Status": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        LABELS: volume.labels,
    }
}
