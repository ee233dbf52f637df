use api::containers::ChangeKind;

use crate::context::Cli;
use crate::error::Error;
use crate::format::Listing;
use crate::format::text::printable;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, or "json"
    #[arg(long)]
    format: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.args[0].is_empty() {
        return Err(Error::new("Container name cannot be empty"));
    }
    let changes = client::containers::changes(cli.client()?, &args.args[0]).await?;
    let rows: Vec<_> = changes
        .iter()
        .map(|change| {
            let letter = match change.kind {
                ChangeKind::Modified => "C",
                ChangeKind::Added => "A",
                ChangeKind::Deleted => "D",
            };
            crate::row! { "Type": letter, "Path": change.path }
        })
        .collect();
    let listing = Listing {
        table: "{{.Type}}\t{{.Path}}".to_owned(),
        quiet: "",
        raw: "",
        columns: &[("Type", "CHANGE TYPE"), ("Path", "PATH")],
        labels: false,
    };
    let format = args.format.as_deref();
    let text = listing.render(Some(format.unwrap_or("{{.Type}} {{.Path}}")), false, &rows)?;
    // A program gets the names as they are.
    match format.is_none() && cli.stdout_is_terminal() {
        true => cli.print(&printable(&text))?,
        false => cli.print(&text)?,
    }
    Ok(0)
}
