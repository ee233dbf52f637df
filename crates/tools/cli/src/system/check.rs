use std::io::Write;

use api::system::Finding;

use crate::context::Cli;
use crate::error::Error;
use crate::progress::messages;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
    /// Believe the bytes of layers, look only whether they are there
    #[arg(long)]
    quick: bool,
    args: Vec<String>,
}

/// Exits with 1 when something is left that is not right.
pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let who = credentials::all(cli)?;
    let messages = client::system::check(cli.client()?, args.repair, args.quick, &who).await?;
    let mut findings: Result<Vec<Finding>, _> = Ok(Vec::new());
    let found = |value: &serde_json::Value| findings = serde_json::from_value(value.clone());
    let terminal = cli.stderr_is_terminal();
    // Who reads it later has no use for how far it once was.
    let mut shown: Box<dyn Write + Send> =
        if terminal { Box::new(std::io::stderr()) } else { Box::new(std::io::sink()) };
    messages::show(messages, &mut shown, terminal, found).await?;
    let findings = findings.map_err(|error| Error::new(format!("read what was found: {error}")))?;
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
