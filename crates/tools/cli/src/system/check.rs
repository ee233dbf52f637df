use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
    args: Vec<String>,
}

/// Exits with 1 when something is left that is not right.
pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let findings = client::system::check(cli.client()?, args.repair).await?;
    let mut open = 0;
    for finding in &findings {
        open += usize::from(!finding.repaired);
        let state = if finding.repaired { " (repaired)" } else { "" };
        cli.println(&format!("{} {}: {}{state}", finding.kind, finding.object, finding.message))?;
    }
    match (findings.len(), open) {
        (0, _) => cli.println("No problems found")?,
        (_, 0) => {}
        (_, open) if args.repair => return Err(Error::new(format!("{open} problems could not be repaired"))),
        (_, open) => return Err(Error::new(format!("{open} problems found; repair with --repair"))),
    }
    Ok(0)
}
