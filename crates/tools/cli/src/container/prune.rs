use crate::context::Cli;
use crate::format::units::human_size;
use crate::options::filter;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Only what matches, such as "until=24h" or "label=key"
    #[arg(long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let filters = filter::parse(&args.filter);
    let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !args.force && !cli.confirm(question)? {
        return Ok(0);
    }
    let report = client::containers::prune(cli.client()?, &filters).await?;
    if !report.containers_deleted.is_empty() {
        cli.println("Deleted Containers:")?;
        for id in &report.containers_deleted {
            cli.println(id)?;
        }
        cli.println("")?;
    }
    cli.println(&format!("Total reclaimed space: {}", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}
