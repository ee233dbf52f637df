use jiff::SignedDuration;

use crate::context::Cli;
use crate::error::Error;
use crate::format::units::{human_size, ram_in_bytes};
use crate::image::prune;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Space that stays free on the file system, such as 20g
    #[arg(long, value_name = "bytes")]
    keep_free: Option<String>,
    /// Space that images and the build cache may take, such as 50g
    #[arg(long, value_name = "bytes")]
    max: Option<String>,
    /// Images that have a name, but no container, and were not used for so long may go as well, such as 720h
    #[arg(long, value_name = "duration")]
    unused: Option<String>,
    args: Vec<String>,
}

/// Exits with 1 when there is still too much.
pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let bytes = |text: Option<String>| text.map_or(Ok(0), |text| ram_in_bytes(&text).map_err(Error::new));
    let unused = args.unused.map(|text| {
        let parsed = text.parse::<SignedDuration>();
        parsed.map(|unused| unused.as_secs()).map_err(|_| Error::new(format!("invalid duration {text:?}")))
    });
    let unused = unused.transpose()?;
    let done =
        client::system::collect(cli.client()?, bytes(args.max)?, bytes(args.keep_free)?, unused).await?;
    cli.print(&prune::told(&done.images_deleted))?;
    if done.caches_deleted > 0 {
        cli.println(&format!("Deleted build cache objects: {}\n", done.caches_deleted))?;
    }
    cli.println(&format!("Total reclaimed space: {}", human_size(done.space_reclaimed as f64)))?;
    match done.lacking {
        0 => Ok(0),
        lacking => Err(Error::new(format!(
            "{} more than the limits allow are in use: remove containers, images or volumes, or let images go that were not \
             used for long, with --unused",
            human_size(lacking as f64)
        ))),
    }
}
