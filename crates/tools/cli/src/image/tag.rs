use oci::Reference;

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (source, target) = (&args.args[0], &args.args[1]);
    let reference = Reference::parse_name(target).map_err(|error| {
        Error::new(format!(
            "Error parsing reference: {} is not a valid repository/tag: {error}",
            template::quote(target)
        ))
    })?;
    if reference.digest.is_some() {
        return Err(Error::new("refusing to create a tag with a digest reference"));
    }
    let tag = reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
    client::images::tag(cli.client()?, source, &reference.familiar_name(), &tag).await?;
    Ok(0)
}
