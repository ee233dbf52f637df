use std::time::Duration;

use crate::context::Cli;
use crate::error::Error;
use crate::progress::build::Picture;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// "plain", or "rawjson" for the events
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
    let mut picture = Picture::default();
    for line in client::builds::logs(cli.client()?, name).await? {
        let Some(event) = line.event else { continue };
        match raw {
            true => cli.println(&serde_json::to_string(&event).map_err(|e| Error::new(e.to_string()))?)?,
            false => cli.print(&picture.plain(&event, Duration::from_millis(line.millis)))?,
        }
    }
    Ok(0)
}
