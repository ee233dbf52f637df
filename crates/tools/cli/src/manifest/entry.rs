//! A member of a list, in the format of the files of Docker's client, so that either reads what the other wrote.

use api::images::{RemoteImage, RemoteOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::image::Descriptor;
use oci::{Platform, Reference, media_types};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The name that it was taken from.
    #[serde(rename = "Ref")]
    pub name: String,
    pub descriptor: Descriptor,
    /// The manifest's bytes in base64.
    pub raw: String,
    #[serde(rename = "SchemaV2Manifest", default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<Value>,
    #[serde(rename = "OCIManifest", default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<Value>,
}

/// What a registry has under a name.
pub enum Found {
    Image(Box<Entry>),
    /// An index; its members' names have its name and their digest.
    List(Vec<Entry>),
}

impl Entry {
    /// The manifest, byte for byte.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        STANDARD.decode(&self.raw).map_err(|error| Error::new(format!("manifest of {}: {error}", self.name)))
    }

    pub fn reference(&self) -> Result<Reference, Error> {
        super::name(&self.name)
    }

    fn of(name: &Reference, image: &RemoteImage, platform: Option<Platform>) -> Result<Entry, Error> {
        let wrong = |reason: String| Error::new(format!("manifest of {name}: {reason}"));
        let document: Value = serde_json::from_str(&image.raw).map_err(|error| wrong(error.to_string()))?;
        let mut descriptor =
            image.descriptor.clone().ok_or_else(|| wrong("the server does not say what it is".to_owned()))?;
        descriptor.platform = platform.or_else(|| config_platform(image));
        let is_docker = descriptor.media_type == media_types::DOCKER_MANIFEST;
        let (docker, oci) = if is_docker { (Some(document), None) } else { (None, Some(document)) };
        let raw = STANDARD.encode(&image.raw);
        Ok(Entry { name: name.to_string(), descriptor, raw, docker, oci })
    }
}

/// The platform that an image's configuration names.
fn config_platform(image: &RemoteImage) -> Option<Platform> {
    let config = image.images.values().next()?;
    // Features and versions of systems are Windows'; a configuration has them under the same names.
    serde_json::from_value(config.clone()).ok()
}

/// Asks the registry.
pub async fn fetch(cli: &Cli, name: &Reference, insecure: bool) -> Result<Found, Error> {
    let image = remote(cli, name, insecure, false).await?;
    if !image.descriptor.as_ref().is_some_and(|found| media_types::is_index(&found.media_type)) {
        // Which platform it is for stands in its configuration alone.
        let image = remote(cli, name, insecure, true).await?;
        return Entry::of(name, &image, None).map(|entry| Found::Image(Box::new(entry)));
    }
    let index: oci::image::Index =
        serde_json::from_str(&image.raw).map_err(|error| Error::new(format!("index {name}: {error}")))?;
    let mut members = Vec::new();
    for member in index.manifests {
        let name = super::name(&format!("{name}@{}", member.digest))?;
        let image = remote(cli, &name, insecure, false).await?;
        members.push(Entry::of(&name, &image, member.platform)?);
    }
    Ok(Found::List(members))
}

async fn remote(cli: &Cli, name: &Reference, insecure: bool, details: bool) -> Result<RemoteImage, Error> {
    let auth = credentials::lookup(cli, &name.domain)?.unwrap_or_default();
    let options = RemoteOptions { details, insecure };
    let found = client::images::remote(cli.client()?, &name.to_string(), &options, &auth).await;
    found.map_err(|error| match error.is_not_found() {
        true => Error::new(format!("no such manifest: {}", name.familiar())),
        false => error.into(),
    })
}
