use api::build::CachePruneOptions;

use crate::buildx::Plugin;
use crate::context::Cli;
use crate::format::units::{human_size, ram_in_bytes};
use crate::options::filter;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// All that is not in use now
    #[arg(short, long)]
    all: bool,
    /// Only what matches, such as "until=24h"
    #[arg(long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Space to keep for the cache
    #[arg(long, alias = "reserved-space", value_name = "bytes", value_parser = ram_in_bytes)]
    keep_storage: Option<i64>,
    /// Most space that the cache may take
    #[arg(long, value_name = "bytes", value_parser = ram_in_bytes)]
    max_used_space: Option<i64>,
    /// Space that should be free on the disk
    #[arg(long, value_name = "bytes", value_parser = ram_in_bytes)]
    min_free_space: Option<i64>,
    #[command(flatten)]
    plugin: Plugin,
    /// Accepted: nobody is asked for long
    #[arg(long, hide = true)]
    timeout: Option<String>,
    /// Tell all about each record that went
    #[arg(long)]
    verbose: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    args.plugin.check(cli)?;
    let what = if args.all { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {what}. Are you sure you want to continue?");
    let options = CachePruneOptions {
        all: args.all,
        reserved_space: args.keep_storage.unwrap_or_default(),
        max_used_space: args.max_used_space.unwrap_or_default(),
        min_free_space: args.min_free_space.unwrap_or_default(),
        filters: filter::parse(&args.filter),
    };
    if !args.force && !cli.confirm(&question)? {
        return Ok(0);
    }
    let known = match args.verbose {
        true => client::system::df(cli.client()?, &["build-cache".to_owned()])
            .await?
            .build_cache
            .unwrap_or_default(),
        false => Vec::new(),
    };
    let report = client::builds::prune(cli.client()?, &options).await?;
    if !report.caches_deleted.is_empty() {
        cli.println("Deleted build cache objects:")?;
        for id in &report.caches_deleted {
            match known.iter().find(|record| record.id == *id) {
                Some(record) => {
                    cli.print(&super::du::whole(std::slice::from_ref(record), jiff::Timestamp::now()))?
                }
                None => cli.println(id)?,
            }
        }
        if !args.verbose {
            cli.println("")?;
        }
    }
    cli.println(&format!("Total reclaimed space: {}", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}
