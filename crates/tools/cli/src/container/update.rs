use api::containers::UpdateRequest;

use super::config::{Limits, restart_policy};
use crate::context::Cli;
use crate::error::{Error, joined};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    limits: Limits,
    /// When to start again: "no", "on-failure[:n]", "always" or "unless-stopped"
    #[arg(long)]
    restart: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let resources = args.limits.resources();
    if resources == Default::default() && args.restart.is_none() {
        return Err(Error::new("you must provide one or more flags when using this command"));
    }
    let restart_policy = match args.restart.as_deref() {
        None | Some("") => Default::default(),
        Some(policy) => restart_policy(policy)?,
    };
    let request = UpdateRequest { resources, restart_policy };
    let client = cli.client()?;
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for name in &args.args {
        match client::containers::update(client, name, &request).await {
            Ok(answer) => {
                cli.println(name)?;
                warnings.extend(answer.warnings);
            }
            Err(error) => errors.push(Error::from(error)),
        }
    }
    for warning in warnings {
        cli.complain(&warning);
    }
    joined(errors).map_or(Ok(0), Err)
}
