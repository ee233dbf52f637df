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
    // What could not be looked at is no problem that a repair would mend.
    let (mut open, mut unchecked) = (0, 0);
    for finding in &findings {
        match finding.kind.as_str() {
            _ if finding.repaired => {}
            "check" => unchecked += 1,
            _ => open += 1,
        }
        let state = if finding.repaired { " (repaired)" } else { "" };
        cli.println(&format!("{} {}: {}{state}", finding.kind, finding.object, finding.message))?;
    }
    if findings.is_empty() {
        cli.println("No problems found")?;
    }
    let mut told = Vec::new();
    match open {
        0 => {}
        open if args.repair => told.push(format!("{open} problems could not be repaired")),
        open => told.push(format!("{open} problems found; repair with --repair")),
    }
    if unchecked > 0 {
        told.push(format!("{unchecked} checks could not be made: see above for what they need"));
    }
    if told.is_empty() {
        return Ok(0);
    }
    Err(Error::new(told.join("; ")))
}
