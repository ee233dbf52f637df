use api::containers::LogsOptions;
use jiff::Timestamp;

use crate::context::Cli;
use crate::error::Error;
use crate::format::time::moment;
use crate::stream::demultiplex;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Also show the attributes that the log driver kept
    #[arg(long)]
    details: bool,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only from this time on: a date, a Unix time, or a duration ago such as "42m"
    #[arg(long)]
    since: Option<String>,
    /// Only so many lines from the end, or "all"
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Only up to this time
    #[arg(long)]
    until: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let now = Timestamp::now();
    let time = |flag: &str, text: Option<String>| {
        moment(text.as_deref().unwrap_or_default(), now)
            .map_err(|error| Error::new(format!("invalid value for \"{flag}\": {error}")))
    };
    let inspect = client::containers::inspect(client, &args.args[0], false).await?;
    let options = LogsOptions {
        follow: args.follow,
        stdout: true,
        stderr: true,
        since: time("since", args.since)?,
        until: time("until", args.until)?,
        timestamps: args.timestamps,
        details: args.details,
        tail: args.tail,
    };
    let mut log = client::containers::logs(client, &inspect.id, &options).await?;
    let mut output = demultiplex(inspect.config.tty);
    while let Some(bytes) = log.next().await {
        output.write(&bytes?)?;
    }
    Ok(0)
}
