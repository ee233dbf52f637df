use crate::context::Cli;
use crate::format::listing::LABELS;
use crate::format::text::{pairs, short_id};
use crate::format::{Listing, time};
use crate::options::filter;
use crate::settings;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Only what matches, such as "driver=bridge" or "label=key"
    #[arg(short, long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let filters = filter::parse(&args.filter);
    let format = settings::format(cli, args.format, args.quiet, "networksFormat")?;
    let mut networks = client::networks::list(cli.client()?, &filters).await?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<_> = networks
        .iter()
        .map(|network| {
            let created = api::time::parse(&network.created).unwrap_or_default();
            crate::row! {
                "ID": if args.no_trunc { &network.id } else { short_id(&network.id) },
                "Name": network.name,
                "Driver": network.driver,
                "Scope": network.scope,
                "IPv4": network.enable_ipv4.to_string(),
                "IPv6": network.enable_ipv6.to_string(),
                "Internal": network.internal.to_string(),
                "Labels": pairs(&network.labels),
                "CreatedAt": time::go_string(created),
                LABELS: network.labels,
            }
        })
        .collect();
    let listing = Listing {
        table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}".to_owned(),
        quiet: "{{.ID}}",
        raw: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
        columns: &[
            ("ID", "NETWORK ID"),
            ("Name", "NAME"),
            ("Driver", "DRIVER"),
            ("Scope", "SCOPE"),
            ("IPv4", "IPV4"),
            ("IPv6", "IPV6"),
            ("Internal", "INTERNAL"),
            ("Labels", "LABELS"),
            ("CreatedAt", "CREATED AT"),
        ],
        labels: true,
    };
    cli.print(&listing.render(format.as_deref(), args.quiet, &rows)?)?;
    Ok(0)
}
