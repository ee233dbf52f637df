use api::images::DeleteResponse;

use crate::context::Cli;
use crate::error::Error;
use crate::format::units::human_size;
use crate::options::filter;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// All that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Only what matches, such as "until=24h" or "label=key"
    #[arg(long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let what = match args.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    let question = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
    let filters = filter::parse(&args.filter);
    if !args.force && !cli.confirm(&question)? {
        return Ok(0);
    }
    let (text, space) = prune(cli, args.all, filters).await?;
    cli.print(&text)?;
    cli.println(&format!("Total reclaimed space: {}", human_size(space as f64)))?;
    Ok(0)
}

/// What was removed, as text, and the space that came free.
pub async fn prune(cli: &Cli, all: bool, mut filters: api::Filters) -> Result<(String, u64), Error> {
    filters.add("dangling", if all { "false" } else { "true" });
    let report = client::images::prune(cli.client()?, &filters).await?;
    Ok((told(&report.images_deleted), report.space_reclaimed))
}

/// What was removed, as text.
pub fn told(deleted: &[DeleteResponse]) -> String {
    let mut text = String::new();
    if !deleted.is_empty() {
        text.push_str("Deleted Images:\n");
        for item in deleted {
            text.push_str(&match item.untagged.is_empty() {
                true => format!("deleted: {}\n", item.deleted),
                false => format!("untagged: {}\n", item.untagged),
            });
        }
        text.push('\n');
    }
    text
}
