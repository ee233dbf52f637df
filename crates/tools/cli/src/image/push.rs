use oci::Reference;

use crate::context::Cli;
use crate::error::Error;
use crate::options::platform;
use crate::progress::messages;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Accepted for old scripts; images are not signed
    #[arg(long, default_value_t = true, hide = true)]
    disable_content_trust: bool,
    /// Compress layers with gzip or zstd that are compressed otherwise or not at all
    #[arg(long, value_parser = ["gzip", "zstd"])]
    compression: Option<String>,
    /// How hard to try, on the format's own scale
    #[arg(long)]
    compression_level: Option<u32>,
    /// Send this platform's image alone
    #[arg(long)]
    platform: Option<String>,
    /// Print only the name
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let name = Reference::parse_name(&args.args[0]).map_err(|error| Error::new(error.to_string()))?;
    if args.all_tags && !name.is_name_only() {
        return Err(Error::new("tag can't be used with --all-tags/-a"));
    }
    if name.digest.is_some() {
        return Err(Error::new("cannot push a digest reference"));
    }
    let tag = match args.all_tags {
        true => String::new(),
        false => name.tag.clone().unwrap_or_else(|| "latest".to_owned()),
    };
    if name.tag.is_none() && !args.all_tags && !args.quiet {
        cli.println("Using default tag: latest")?;
    }
    let auth = credentials::lookup(cli, &name.domain)?.unwrap_or_default();
    let push = client::images::Push {
        tag: tag.clone(),
        platform: platform::document(args.platform.as_deref())?,
        compression: args.compression.unwrap_or_default(),
        level: args.compression_level,
    };
    let progress = client::images::push(cli.client()?, &name.familiar_name(), &push, &auth).await?;
    match args.quiet {
        true => {
            messages::show(progress, &mut std::io::sink(), false, |_| {}).await?;
            let suffix = if tag.is_empty() { String::new() } else { format!(":{tag}") };
            cli.println(&format!("{}{suffix}", name.name()))?;
        }
        false => {
            let mut notes = Vec::new();
            let listen = |aux: &serde_json::Value| notes.extend(instead(aux));
            messages::show(progress, &mut std::io::stdout(), cli.stdout_is_terminal(), listen).await?;
            notes.iter().try_for_each(|note| cli.println(note))?;
        }
    }
    Ok(0)
}

/// That one platform was sent where the name stands for several, in Docker's words.
fn instead(aux: &serde_json::Value) -> Option<String> {
    aux["manifestPushedInsteadOfIndex"].as_bool().filter(|is| *is)?;
    let digest = |of: &str| aux[of]["digest"].as_str().unwrap_or_default().to_owned();
    Some(format!(
        "\nInfo -> Not all multiplatform-content is present and only the available single-platform image was pushed\n        \
         {} -> {}",
        digest("originalIndex"),
        digest("selectedManifest")
    ))
}
