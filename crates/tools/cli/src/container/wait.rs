use api::containers::WaitCondition;

use crate::context::Cli;
use crate::error::{Error, joined};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let mut errors = Vec::new();
    for name in &args.args {
        let result = match client::containers::wait(client, name, WaitCondition::NotRunning).await {
            Ok(wait) => wait.result().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(answer) => match answer.error.filter(|error| !error.message.is_empty()) {
                None => cli.println(&answer.status_code.to_string())?,
                Some(error) => errors.push(Error::new(error.message)),
            },
            Err(error) => errors.push(error.into()),
        }
    }
    joined(errors).map_or(Ok(0), Err)
}
