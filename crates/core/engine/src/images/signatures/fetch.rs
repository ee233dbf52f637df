//! What is signed of an image in its registry.

use std::collections::BTreeMap;

use api::auth::AuthConfig;
use api::images::{Signatures, SignedStatement};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::image::{Descriptor, Document};
use oci::{Digest, Reference};
use registry::Repository;

use crate::Engine;
use crate::error::{Error, Result};
use crate::images::pull::registry_error;
use crate::images::remote::{self, Access};

/// Statements about one image that are read: a registry may have any number.
const STATEMENTS_MAX: usize = 100;
/// Bytes of one.
const STATEMENT_MAX: u64 = 1 << 20;

/// What is signed of what a name stands for. Nothing of it is verified.
pub async fn signatures(
    engine: &Engine,
    name: &str,
    who: &BTreeMap<String, AuthConfig>,
    insecure: bool,
) -> Result<Signatures> {
    let access = Access { engine, who, insecure };
    let name = remote::parse(name)?;
    let repository = access.read(&name);
    let (target, _) = repository.resolve().await.map_err(registry_error)?;
    let statements = statements(&repository, &target.digest).await?;
    Ok(Signatures { name: name.to_string(), digest: Some(target.digest), statements })
}

/// What is signed of a manifest: payloads under cosign's tag, and bundles that are attached to it.
pub(in crate::images) async fn statements(
    repository: &Repository,
    manifest: &Digest,
) -> Result<Vec<SignedStatement>> {
    let mut found = Vec::new();
    let tagged = repository.tagged(&cosign::signature_tag(manifest)).await.map_err(registry_error)?;
    if let Some((_, bytes)) = tagged {
        let Ok(Document::Manifest(list)) = Document::parse(&bytes) else {
            return Err(Error::invalid(format!("the signatures of {manifest} are in no manifest")));
        };
        for layer in list.layers.iter().filter(|layer| layer.media_type == cosign::PAYLOAD_TYPE) {
            let Some(signature) = layer.annotations.get(cosign::SIGNATURE_ANNOTATION) else { continue };
            if found.len() == STATEMENTS_MAX {
                break;
            }
            let payload = STANDARD.encode(content(repository, layer).await?);
            found.push(SignedStatement {
                payload,
                signature: signature.clone(),
                ..SignedStatement::default()
            });
        }
    }
    let attached = repository.referrers(manifest).await.map_err(registry_error)?;
    for artifact in attached.iter().filter(|artifact| is_bundle(artifact)) {
        let (_, bytes) = repository.member(artifact).await.map_err(registry_error)?;
        let Ok(Document::Manifest(artifact)) = Document::parse(&bytes) else { continue };
        for layer in artifact.layers.iter().filter(|layer| layer.media_type == cosign::BUNDLE_TYPE) {
            if found.len() == STATEMENTS_MAX {
                return Ok(found);
            }
            let bundle = String::from_utf8_lossy(&content(repository, layer).await?).into_owned();
            found.push(SignedStatement { bundle, ..SignedStatement::default() });
        }
    }
    Ok(found)
}

fn is_bundle(artifact: &Descriptor) -> bool {
    artifact.artifact_type.as_deref() == Some(cosign::BUNDLE_TYPE)
}

async fn content(repository: &Repository, layer: &Descriptor) -> Result<Vec<u8>> {
    if layer.size > STATEMENT_MAX {
        return Err(Error::invalid(format!("the statement {} has {} bytes", layer.digest, layer.size)));
    }
    remote::small(repository, layer).await
}

/// The repository and the digest that a name stands for.
pub(super) async fn subject(access: &Access<'_>, name: &str) -> Result<(Reference, Repository, Descriptor)> {
    let name = remote::parse(name)?;
    let (found, _) = access.read(&name).resolve().await.map_err(registry_error)?;
    let repository = access.write(&name);
    Ok((name, repository, found))
}
