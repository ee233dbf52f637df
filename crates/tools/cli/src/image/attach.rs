//! `image attach`: an artifact that is about an image, in the image's repository.

use std::collections::BTreeMap;
use std::path::Path;

use api::images::{ArtifactFile, NewArtifact};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::annotations;
use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Annotate the artifact, as key=value; may be repeated
    #[arg(short, long)]
    annotation: Vec<String>,
    /// What is attached, as a media type such as application/spdx+json
    #[arg(long)]
    artifact_type: Option<String>,
    /// Talk to a registry without encryption, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    args: Vec<String>,
}

/// What a file is when nobody says it.
const ANY: &str = "application/vnd.oci.image.layer.v1.tar";

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (image, names) = args.args.split_first().ok_or_else(|| Error::new("no image"))?;
    let Some(kind) = args.artifact_type.filter(|kind| !kind.is_empty()) else {
        return Err(Error::new(
            "image attach needs --artifact-type: what is attached, such as application/spdx+json",
        ));
    };
    let annotations: BTreeMap<String, String> = annotations::read(&args.annotation)?.into_iter().collect();
    let mut files = Vec::new();
    for name in names {
        // A type has a slash and follows the last colon.
        let (path, media_type) = match name.rsplit_once(':') {
            Some((path, media_type)) if media_type.contains('/') => (path, media_type),
            _ => (name.as_str(), ANY),
        };
        let content = STANDARD.encode(cli.read(path)?);
        let title = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
        files.push(ArtifactFile {
            name: title.unwrap_or_else(|| path.to_owned()),
            media_type: media_type.to_owned(),
            content,
        });
    }
    let new =
        NewArtifact { name: image.clone(), artifact_type: kind, annotations, files, insecure: args.insecure };
    let made = client::images::attach(cli.client()?, &new, &credentials::all(cli)?).await?;
    cli.println(&made.digest.to_string()).map(|()| 0)
}
