//! Puts a signature beside an image, as cosign does: one more layer of the artifact under the image's signature tag.

use std::collections::BTreeMap;

use api::auth::AuthConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oci::image::{Descriptor, Document, Manifest};
use oci::{Digest, media_types};
use registry::Body;
use serde_json::json;

use super::fetch::subject;
use crate::Engine;
use crate::error::{Context as _, Error, Result};
use crate::images::pull::registry_error;
use crate::images::remote::Access;

/// A signature that was made elsewhere: keys never come here.
#[derive(Debug, Clone, Default)]
pub struct NewSignature {
    /// The image.
    pub name: String,
    /// What was signed, in base64.
    pub payload: String,
    /// The signature of that, in base64.
    pub signature: String,
    /// The registry may be talked to without encryption.
    pub insecure: bool,
}

/// Sends a signature of what a name stands for; the digest of the artifact with all of the image's signatures.
pub async fn sign(engine: &Engine, new: &NewSignature, who: &BTreeMap<String, AuthConfig>) -> Result<Digest> {
    let payload =
        STANDARD.decode(&new.payload).map_err(|e| Error::invalid(format!("payload of a signature: {e}")))?;
    let access = Access { engine, who, insecure: new.insecure };
    let (_, repository, image) = subject(&access, &new.name).await?;
    let mut layer = Descriptor::of(cosign::PAYLOAD_TYPE, &payload);
    layer.annotations.insert(cosign::SIGNATURE_ANNOTATION.to_owned(), new.signature.clone());
    let tag = cosign::signature_tag(&image.digest);
    let mut layers = match repository.tagged(&tag).await.map_err(registry_error)? {
        None => Vec::new(),
        Some((_, bytes)) => match Document::parse(&bytes).map_err(|e| Error::invalid(e.to_string()))? {
            Document::Manifest(manifest) => manifest.layers,
            Document::Index(_) => {
                return Err(Error::invalid(format!("the tag {tag} is no list of signatures")));
            }
        },
    };
    // Signing again with the same key changes nothing where signatures are the same each time.
    layers.retain(|known| (&known.digest, &known.annotations) != (&layer.digest, &layer.annotations));
    layers.push(layer.clone());
    // An image without files, in whose place cosign puts its signatures.
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let config = json!({
        "architecture": "", "created": "0001-01-01T00:00:00Z", "os": "", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = serde_json::to_vec(&config).during("write a signature's configuration")?;
    let described = Descriptor::of(media_types::OCI_CONFIG, &config);
    for (descriptor, bytes) in [(&layer, payload), (&described, config)] {
        if !repository.has_blob(&descriptor.digest).await.map_err(registry_error)? {
            let (digest, length) = (&descriptor.digest, descriptor.size);
            let open = || Body::from(bytes.clone());
            repository.push_blob(digest, length, &open).await.map_err(registry_error)?;
        }
    }
    let manifest = Manifest { layers, ..Manifest::new(described, Vec::new()) };
    let bytes = Bytes::from(serde_json::to_vec(&manifest).during("write a signature's manifest")?);
    let digest = Digest::sha256(&bytes);
    repository.push_manifest(&tag, media_types::OCI_MANIFEST, bytes).await.map_err(registry_error)?;
    Ok(digest)
}
