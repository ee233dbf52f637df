//! `manifest rm`: forgets lists of this user; registries keep theirs.

use super::lists::Lists;
use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let lists = Lists::of(cli);
    let mut failures = Vec::new();
    for text in &args.args {
        let done = super::name(text).and_then(|list| lists.remove(&list));
        failures.extend(done.err().map(|error| error.to_string()));
    }
    match failures.is_empty() {
        true => Ok(0),
        false => Err(Error::new(failures.join("\n"))),
    }
}
