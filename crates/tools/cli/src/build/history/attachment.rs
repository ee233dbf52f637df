//! `history inspect attachment`: a document that belongs to a build's record, as it is.

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

/// The annotation that tells what a statement is about.
pub const PREDICATE: &str = "in-toto.io/predicate-type";

/// Which one is meant; what is empty fits all.
pub struct Wanted<'w> {
    pub kind: &'w str,
    pub platform: &'w str,
}

impl Wanted<'_> {
    fn fits(&self, kind: &str, platform: &str) -> bool {
        let is_kind = match self.kind {
            "" => true,
            "index" => oci::media_types::is_index(kind),
            "manifest" => oci::media_types::is_manifest(kind),
            "provenance" => is_provenance(kind),
            "sbom" => kind == "https://spdx.dev/Document",
            other => other == kind,
        };
        is_kind && (self.platform.is_empty() || self.platform == platform)
    }
}

/// Whether this is the type of an image's own documents, and not of what is stated about it.
pub fn is_image(kind: &str) -> bool {
    oci::media_types::is_manifest(kind) || oci::media_types::is_index(kind)
}

/// Whether this type of a statement tells how something was built.
pub fn is_provenance(kind: &str) -> bool {
    kind.starts_with("https://slsa.dev/provenance/")
}

/// Prints the document; after the build its digest may stand, which names it alone.
pub async fn print(cli: &Cli, names: &[String], wanted: &Wanted<'_>) -> Outcome {
    let name = names.first().map_or("", String::as_str);
    let digest = names.get(1).map(String::as_str);
    if digest.is_none() && wanted.kind.is_empty() && wanted.platform.is_empty() {
        return Err(Error::new("at least one of --type, --platform or DIGEST must be specified"));
    }
    let client = cli.client()?;
    let record = client::builds::inspect(client, name).await?;
    let found = record.attachments.iter().find(|one| wanted.fits(&one.kind, &one.platform));
    let digest = digest.or(found.map(|one| one.digest.as_str()));
    let digest =
        digest.ok_or_else(|| Error::new(format!("no matching attachment found for ref \"{name}\"")))?;
    let bytes = client::builds::attachment(client, &record.id, digest).await?;
    cli.print(&String::from_utf8_lossy(&bytes))?;
    Ok(0)
}
