use crate::context::Cli;
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
    let question = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure \
                    you want to continue?";
    if !args.force && !cli.confirm(question)? {
        return Ok(0);
    }
    let report = client::networks::prune(cli.client()?, &filters).await?;
    if !report.networks_deleted.is_empty() {
        cli.println("Deleted Networks:")?;
        for name in &report.networks_deleted {
            cli.println(name)?;
        }
    }
    Ok(0)
}
