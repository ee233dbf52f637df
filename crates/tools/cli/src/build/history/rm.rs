use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// All builds that have ended
    #[arg(short, long)]
    all: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let names = match (args.all, args.args.is_empty()) {
        (true, true) => vec![String::new()],
        (false, false) => args.args,
        (true, false) => return Err(Error::new("rm cannot be used with both --all and builds")),
        (false, true) => return Err(Error::new("rm requires either --all or builds")),
    };
    for name in names {
        for gone in client::builds::forget(cli.client()?, &name).await? {
            cli.println(&gone)?;
        }
    }
    Ok(0)
}
