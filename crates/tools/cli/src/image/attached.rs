//! `image attached`: the artifacts that are about an image, and their files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Reference;
use oci::image::Descriptor;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::error::Error;
use crate::format::Listing;
use crate::format::text::pairs;
use crate::format::units::human_size;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Only artifacts of this type
    #[arg(long)]
    artifact_type: Option<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Talk to a registry without encryption, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    /// Write the files of the artifacts into this directory
    #[arg(short, long)]
    output: Option<String>,
    /// Only digests
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let name = Reference::parse(&args.args[0]).map_err(|error| Error::new(error.to_string()))?;
    let auths = credentials::all(cli)?;
    let kind = args.artifact_type.unwrap_or_default();
    let found = client::images::attached(cli.client()?, &args.args[0], &kind, args.insecure, &auths).await?;
    if let Some(directory) = &args.output {
        for artifact in &found {
            let artifact = name.repository().with_digest(artifact.digest.clone()).to_string();
            let files =
                client::images::attached_files(cli.client()?, &artifact, args.insecure, &auths).await?;
            for file in files {
                write(cli, directory, &file.name, &file.content)?;
            }
        }
        return Ok(0);
    }
    let rows: Vec<_> = found.iter().map(row).collect();
    let listing = Listing {
        table: "{{.Digest}}\t{{.Type}}\t{{.Size}}\t{{.Annotations}}".to_owned(),
        quiet: "{{.Digest}}",
        raw: "",
        columns: &[("Digest", "DIGEST"), ("Type", "TYPE"), ("Size", "SIZE"), ("Annotations", "ANNOTATIONS")],
        labels: false,
    };
    cli.print(&listing.render(args.format.as_deref(), args.quiet, &rows)?).map(|()| 0)
}

fn row(artifact: &Descriptor) -> Map<String, Value> {
    crate::row! {
        "Digest": artifact.digest.to_string(),
        "Type": artifact.artifact_type.clone().unwrap_or_default(),
        "Size": human_size(artifact.size as f64),
        "Annotations": pairs(&artifact.annotations),
    }
}

/// Writes a file of an artifact, whose name somebody else has chosen: a bare name, and nothing that is there already.
fn write(cli: &Cli, directory: &str, name: &str, content: &str) -> Result<(), Error> {
    let plain = !name.is_empty() && !name.contains(['/', '\0']) && !matches!(name, "." | "..");
    if !plain {
        return Err(Error::new(format!("the artifact has a file of the name {}", template::quote(name))));
    }
    let content = STANDARD.decode(content).map_err(|error| Error::new(format!("{name}: {error}")))?;
    let directory = cli.host.directory.join(directory);
    std::fs::create_dir_all(&directory).map_err(|error| Error::file("create", &directory, &error))?;
    let path = directory.join(name);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    made.and_then(|mut file| std::io::Write::write_all(&mut file, &content))
        .map_err(|error| Error::file("create", &path, &error))?;
    cli.println(&path.display().to_string())
}
