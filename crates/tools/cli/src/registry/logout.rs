use crate::context::Cli;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let server = credentials::key(args.args.first().map_or("", String::as_str));
    match credentials::erase(cli, server)? {
        true => cli.println(&format!("Removing login credentials for {server}"))?,
        false => cli.println(&format!("Not logged in to {server}"))?,
    }
    Ok(0)
}
