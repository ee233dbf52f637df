//! `manifest push`: sends a list to its registry, with the members that its repository lacks.

use api::images::NewIndex;

use super::inspect::index;
use super::lists::Lists;
use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Talk to a registry without encryption, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    /// Forget the list afterwards
    #[arg(short, long)]
    purge: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let list = super::name(&args.args[0])?;
    let lists = Lists::of(cli);
    let members = lists.existing(&list)?;
    let mut sources = Vec::new();
    for entry in &members {
        let name = entry.reference()?;
        let platform = entry.descriptor.platform.as_ref();
        if platform.is_none_or(|platform| platform.os.is_empty() || platform.architecture.is_empty()) {
            return Err(Error::new(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                name.familiar()
            )));
        }
        sources.push(name.repository().with_digest(entry.descriptor.digest.clone()).to_string());
    }
    let new = NewIndex {
        targets: vec![list.to_string()],
        sources,
        document: index(&members)?,
        insecure: args.insecure,
        ..NewIndex::default()
    };
    let made = client::images::create_index(cli.client()?, &new, &credentials::all(cli)?).await?;
    for digest in &made.copied {
        let target = list.repository().with_digest(digest.clone());
        cli.println(&format!("Pushed ref {target} with digest: {digest}"))?;
    }
    if let Some(descriptor) = made.descriptor {
        cli.println(&descriptor.digest.to_string())?;
    }
    if args.purge {
        lists.remove(&list)?;
    }
    Ok(0)
}
