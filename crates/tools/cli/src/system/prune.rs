use api::build::CachePruneOptions;

use crate::context::Cli;
use crate::error::Error;
use crate::format::units::human_size;
use crate::options::filter;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// All images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Only what matches, such as "until=24h" or "label=key"
    #[arg(long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Also volumes without a name
    #[arg(long)]
    volumes: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let filters = filter::parse(&args.filter);
    if args.volumes && filters.contains("until") {
        return Err(Error::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !args.force && !cli.confirm(&warning(&args))? {
        return Ok(0);
    }
    let client = cli.client()?;
    let mut space = 0;
    let containers = client::containers::prune(client, &filters).await?;
    space += containers.space_reclaimed;
    section(cli, "Deleted Containers:", &containers.containers_deleted)?;
    if args.volumes {
        let volumes = client::volumes::prune(client, &filters).await?;
        space += volumes.space_reclaimed;
        section(cli, "Deleted Volumes:", &volumes.volumes_deleted)?;
    }
    let networks = client::networks::prune(client, &filters).await?;
    section(cli, "Deleted Networks:", &networks.networks_deleted)?;
    let (text, images) = crate::image::prune::prune(cli, args.all, filters.clone()).await?;
    space += images;
    cli.print(&text)?;
    let options = CachePruneOptions { all: args.all, filters, ..CachePruneOptions::default() };
    let cache = client::builds::prune(client, &options).await?;
    space += cache.space_reclaimed;
    section(cli, "Deleted build cache objects:", &cache.caches_deleted)?;
    cli.println(&format!("Total reclaimed space: {}", human_size(space as f64)))?;
    Ok(0)
}

fn section(cli: &Cli, title: &str, names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    cli.println(title)?;
    for name in names {
        cli.println(name)?;
    }
    cli.println("")
}

fn warning(args: &Args) -> String {
    let mut what = vec!["all stopped containers", "all networks not used by at least one container"];
    if args.volumes {
        what.push("all anonymous volumes not used by at least one container");
    }
    what.extend(match args.all {
        true => ["all images without at least one container associated to them", "all build cache"],
        false => ["all dangling images", "unused build cache"],
    });
    let mut text = String::from("WARNING! This will remove:\n");
    for item in what {
        text.push_str(&format!("  - {item}\n"));
    }
    if !args.filter.is_empty() {
        let mut filters = args.filter.clone();
        filters.sort();
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for item in filters {
            text.push_str(&format!("  - {item}\n"));
        }
    }
    text.push_str("\nAre you sure you want to continue?");
    text
}
