use std::time::Duration;

use crate::context::Cli;
use crate::error::Error;
use crate::progress::build::Picture;
use crate::progress::raw::Raw;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// "plain", or "rawjson" for programs
    #[arg(long, default_value = "plain")]
    progress: String,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let raw = match args.progress.as_str() {
        "plain" | "auto" => false,
        "rawjson" => true,
        other => return Err(Error::new(format!("invalid progress mode {other}"))),
    };
    let name = args.args.first().map_or("", String::as_str);
    let lines = client::builds::logs(cli.client()?, name).await?;
    if raw {
        let begun = client::builds::inspect(cli.client()?, name).await?.started_at;
        let begun = api::time::parse(&begun).unwrap_or_default();
        let mut raw = Raw::new(begun);
        for line in lines {
            let at = begun.checked_add(Duration::from_millis(line.millis)).unwrap_or(begun);
            cli.print(&line.event.and_then(|event| raw.line(&event, at)).unwrap_or_default())?;
        }
        return Ok(0);
    }
    let mut picture = Picture::default();
    for line in lines {
        let Some(event) = line.event else { continue };
        cli.print(&picture.plain(&event, Duration::from_millis(line.millis)))?;
    }
    Ok(0)
}
