//! `manifest create`: asks registries for images and writes them down as members of a list.

use super::entry::{Found, fetch};
use super::lists::Lists;
use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Add to a list that is there already
    #[arg(short, long)]
    amend: bool,
    /// Talk to a registry without encryption, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let list = super::name(&args.args[0])?;
    let lists = Lists::of(cli);
    if lists.members(&list)?.is_some() && !args.amend {
        return Err(Error::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    let mut members = Vec::new();
    for text in &args.args[1..] {
        let name = super::name(text)?;
        if lists.member(&list, &name)?.is_some() {
            continue;
        }
        match fetch(cli, &name, args.insecure).await? {
            Found::Image(entry) => members.push(*entry),
            Found::List(_) => return Err(Error::new(format!("{} is a manifest list", name.familiar()))),
        }
    }
    members.iter().try_for_each(|entry| lists.put(&list, entry))?;
    cli.println(&format!("Created manifest list {}", list.familiar())).map(|()| 0)
}
