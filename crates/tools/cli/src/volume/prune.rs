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
    /// Only what matches, such as "label=key"
    #[arg(long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let mut filters = filter::parse(&args.filter);
    if args.all {
        if filters.contains("all") {
            return Err(Error::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.add("all", "true");
    }
    let kind = if args.all { "all" } else { "anonymous" };
    let question = format!(
        "WARNING! This will remove {kind} local volumes not used by at least one container.\nAre you sure you want to \
         continue?"
    );
    if !args.force && !cli.confirm(&question)? {
        return Ok(0);
    }
    let report = client::volumes::prune(cli.client()?, &filters).await?;
    if !report.volumes_deleted.is_empty() {
        cli.println("Deleted Volumes:")?;
        for name in &report.volumes_deleted {
            cli.println(name)?;
        }
        cli.println("")?;
    }
    cli.println(&format!("Total reclaimed space: {}", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}
