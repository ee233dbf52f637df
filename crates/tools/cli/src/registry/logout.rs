use crate::context::Cli;
use crate::registry::credentials::{self, HUB};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let server = credentials::key(args.args.first().map_or("", String::as_str));
    // Older clients wrote addresses.
    let names = match server.as_str() {
        HUB => vec![server.clone()],
        host => vec![host.to_owned(), format!("http://{host}"), format!("https://{host}")],
    };
    cli.println(&format!("Removing login credentials for {server}"))?;
    let problems = credentials::erase(cli, &names)?;
    if problems.len() == names.len() {
        cli.complain("WARNING: could not erase credentials:");
        problems.iter().for_each(|problem| cli.complain(problem));
    }
    Ok(0)
}
