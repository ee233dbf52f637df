use api::containers::StopOptions;

use crate::context::Cli;
use crate::flags::integer;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Signal to send instead of the container's own stop signal
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before the container is killed; -1 waits for ever
    #[arg(short = 't', long, alias = "time", value_name = "int", value_parser = integer)]
    timeout: Option<i64>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let options = StopOptions { signal: args.signal.unwrap_or_default(), timeout: args.timeout };
    // Containers take their time to stop: all at once, answers in the order of the arguments.
    let stops = args.args.iter().map(|name| client::containers::stop(client, name, &options));
    super::report(cli, &args.args, futures_util::future::join_all(stops).await)
}
