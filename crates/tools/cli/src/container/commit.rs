use api::containers::CommitOptions;
use oci::Reference;

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Who made the image
    #[arg(short, long)]
    author: Option<String>,
    /// Dockerfile instruction to apply to the image
    #[arg(short, long)]
    change: Vec<String>,
    /// Message of the commit
    #[arg(short, long)]
    message: Option<String>,
    /// Freeze the container meanwhile
    #[arg(short, long, default_value_t = true)]
    pause: bool,
    /// Do not freeze the container meanwhile
    #[arg(long)]
    no_pause: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (repo, tag) = match args.args.get(1).filter(|name| !name.is_empty()) {
        None => (String::new(), String::new()),
        Some(name) => {
            let reference = Reference::parse_name(name).map_err(|error| Error::new(error.to_string()))?;
            if reference.digest.is_some() {
                return Err(Error::new("refusing to create a tag with a digest reference"));
            }
            (reference.familiar_name(), reference.tag.unwrap_or_default())
        }
    };
    let options = CommitOptions {
        container: args.args[0].clone(),
        repo,
        tag,
        comment: args.message.unwrap_or_default(),
        author: args.author.unwrap_or_default(),
        pause: args.pause && !args.no_pause,
        changes: args.change,
        config: None,
    };
    let answer = client::images::commit(cli.client()?, &options).await?;
    cli.println(&answer.id)?;
    Ok(0)
}
