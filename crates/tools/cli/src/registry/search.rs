use crate::context::Cli;
use crate::flags::integer;
use crate::format::Listing;
use crate::format::text::ellipsis;
use crate::options::filter;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Only what matches, such as "is-official=true" or "stars=3"
    #[arg(short, long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Most results
    #[arg(long, value_name = "int", value_parser = integer)]
    limit: Option<i64>,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let filters = filter::parse(&args.filter);
    let term = &args.args[0];
    // The registry that is searched is the Hub unless the term begins with another's host.
    let host = term
        .split_once('/')
        .map(|(host, _)| host)
        .filter(|host| host.contains(['.', ':']) || *host == "localhost");
    let auth = credentials::lookup(cli, host.unwrap_or_default())?;
    let limit = args.limit.unwrap_or(0);
    let found = client::images::search(cli.client()?, term, limit, &filters, auth.as_ref()).await?;
    // Docker writes it in words where a program reads it.
    let words = match args.format.as_deref() {
        Some("json" | "{{json .}}") => ["false", "true"],
        _ => ["", "[OK]"],
    };
    let rows: Vec<_> = found
        .iter()
        .map(|result| {
            let text = result.description.replace(['\n', '\r'], " ");
            crate::row! {
                "Name": result.name,
                "Description": if args.no_trunc { text } else { ellipsis(&text, 45) },
                "StarCount": result.star_count.to_string(),
                "IsOfficial": words[usize::from(result.is_official)],
            }
        })
        .collect();
    let listing = Listing {
        table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}".to_owned(),
        quiet: "{{.Name}}",
        raw: "",
        columns: &[
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("StarCount", "STARS"),
            ("IsOfficial", "OFFICIAL"),
        ],
        labels: false,
    };
    cli.print(&listing.render(args.format.as_deref(), false, &rows)?)?;
    Ok(0)
}
