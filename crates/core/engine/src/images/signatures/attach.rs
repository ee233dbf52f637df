//! Things that are attached to an image in its registry, such as a list of its packages: artifacts that name it as their
//! subject.

use std::collections::BTreeMap;

use api::auth::AuthConfig;
use api::images::ArtifactFile;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oci::image::{Descriptor, Document, Manifest};
use oci::media_types;
use registry::{Body, Repository};

use super::fetch::subject;
use crate::Engine;
use crate::error::{Context as _, Error, Result};
use crate::images::attached::list_referrer;
use crate::images::pull::registry_error;
use crate::images::remote::{self, Access};

type Credentials = BTreeMap<String, AuthConfig>;

/// The configuration of an artifact that has none (image-spec, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
/// The annotation with a file's name.
const TITLE: &str = "org.opencontainers.image.title";
/// Bytes of all files of an artifact that are read or sent at once.
const FILES_MAX: u64 = 64 << 20;

/// Something to attach.
#[derive(Debug, Clone, Default)]
pub struct NewArtifact {
    /// The image that it is about.
    pub name: String,
    /// What it is, e.g. `application/spdx+json`.
    pub kind: String,
    pub annotations: BTreeMap<String, String>,
    pub files: Vec<ArtifactFile>,
    /// The registry may be talked to without encryption.
    pub insecure: bool,
}

/// Attaches files to what a name stands for.
pub async fn attach(engine: &Engine, new: &NewArtifact, who: &Credentials) -> Result<Descriptor> {
    if new.kind.is_empty() || !new.kind.contains('/') {
        return Err(Error::invalid(format!(
            "{:?} is no type of an artifact: it is a media type such as application/spdx+json",
            new.kind
        )));
    }
    let access = Access { engine, who, insecure: new.insecure };
    let (_, repository, subject) = subject(&access, &new.name).await?;
    let mut layers = Vec::new();
    for file in &new.files {
        let content = STANDARD
            .decode(&file.content)
            .map_err(|e| Error::invalid(format!("content of {:?}: {e}", file.name)))?;
        let mut layer = Descriptor::of(&file.media_type, &content);
        layer.annotations.insert(TITLE.to_owned(), file.name.clone());
        send(&repository, &layer, content).await?;
        layers.push(layer);
    }
    let empty = Descriptor::of(EMPTY_TYPE, EMPTY);
    send(&repository, &empty, EMPTY.to_vec()).await?;
    if layers.is_empty() {
        layers.push(empty.clone());
    }
    let mut manifest = Manifest::new(empty, layers);
    manifest.artifact_type = Some(new.kind.clone());
    manifest.annotations.clone_from(&new.annotations);
    let about = Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size);
    manifest.subject = Some(Box::new(about));
    let bytes = serde_json::to_vec(&manifest).during("write an artifact's manifest")?;
    let mut made = Descriptor::of(media_types::OCI_MANIFEST, &bytes);
    let digest = made.digest.to_string();
    repository
        .push_manifest(&digest, media_types::OCI_MANIFEST, Bytes::from(bytes))
        .await
        .map_err(registry_error)?;
    made.artifact_type = Some(new.kind.clone());
    made.annotations.clone_from(&new.annotations);
    list_referrer(&repository, &subject.digest, &made).await?;
    Ok(made)
}

async fn send(repository: &Repository, blob: &Descriptor, content: Vec<u8>) -> Result<()> {
    if !repository.has_blob(&blob.digest).await.map_err(registry_error)? {
        let open = || Body::from(content.clone());
        repository.push_blob(&blob.digest, blob.size, &open).await.map_err(registry_error)?;
    }
    Ok(())
}

/// What is attached to what a name stands for, of one type or of all.
pub async fn attached(
    engine: &Engine,
    name: &str,
    kind: &str,
    who: &Credentials,
    insecure: bool,
) -> Result<Vec<Descriptor>> {
    let access = Access { engine, who, insecure };
    let (_, repository, subject) = subject(&access, name).await?;
    let mut found = repository.referrers(&subject.digest).await.map_err(registry_error)?;
    found.retain(|artifact| kind.is_empty() || artifact.artifact_type.as_deref() == Some(kind));
    Ok(found)
}

/// The files of an artifact.
pub async fn attached_files(
    engine: &Engine,
    name: &str,
    who: &Credentials,
    insecure: bool,
) -> Result<Vec<ArtifactFile>> {
    let name = remote::parse(name)?;
    let repository = Access { engine, who, insecure }.read(&name);
    let (_, bytes) = repository.resolve().await.map_err(registry_error)?;
    let Document::Manifest(manifest) = Document::parse(&bytes).map_err(|e| Error::invalid(e.to_string()))?
    else {
        return Err(Error::invalid(format!("{} is an index", name.familiar())));
    };
    let mut files = Vec::new();
    let total: u64 = manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    if total > FILES_MAX {
        return Err(Error::invalid(format!("the files of {} have {total} bytes", name.familiar())));
    }
    for layer in manifest.layers.iter().filter(|layer| layer.media_type != EMPTY_TYPE) {
        let content = STANDARD.encode(remote::small(&repository, layer).await?);
        let name = layer.annotations.get(TITLE).cloned().unwrap_or_else(|| layer.digest.hex().to_owned());
        files.push(ArtifactFile { name, media_type: layer.media_type.clone(), content });
    }
    Ok(files)
}
