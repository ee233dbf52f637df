use api::images::ImportOptions;
use client::Payload;
use oci::Reference;

use crate::context::Cli;
use crate::error::Error;
use crate::progress::messages;
use crate::stream::channel;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Dockerfile instruction to apply to the image
    #[arg(short, long)]
    change: Vec<String>,
    /// Message of the import
    #[arg(short, long)]
    message: Option<String>,
    /// Platform of the image, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let source = args.args[0].as_str();
    let (repo, tag) = match args.args.get(1).filter(|name| !name.is_empty()) {
        None => Default::default(),
        Some(name) => {
            let reference = Reference::parse_name(name).map_err(|error| Error::new(error.to_string()))?;
            (reference.familiar_name(), reference.tag.unwrap_or_default())
        }
    };
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let payload = match source {
        "-" => Payload::reader(tokio::io::stdin()),
        _ if is_url => Payload::empty(),
        path => channel::file(&cli.host.directory.join(path))
            .map_err(|error| Error::file("open", path, &error))?,
    };
    let options = ImportOptions {
        from_src: if is_url { source.to_owned() } else { "-".to_owned() },
        repo,
        tag,
        message: args.message.unwrap_or_default(),
        changes: args.change,
        platform: args.platform.unwrap_or_default(),
    };
    let progress = client::images::import(cli.client()?, &options, payload).await?;
    messages::show(progress, &mut std::io::stdout(), cli.stdout_is_terminal(), |_| {}).await?;
    Ok(0)
}
