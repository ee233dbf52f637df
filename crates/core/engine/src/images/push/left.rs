//! Layers of a build's result that are not here, because the registries that it goes to have them.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use oci::{Digest, Reference};
use registry::{Begun, Repository};

use super::AT_ONCE;
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::pull::{credentials_of, registry_error};
use crate::images::who::Who;

/// Layers that are not here, with the names of images that have them.
pub(crate) type Left = BTreeMap<Digest, Option<Reference>>;

/// Whether the repository of a name has all of these layers, or its registry takes them there from another one.
pub(crate) async fn has_layers(
    engine: &Engine,
    name: &Reference,
    insecure: bool,
    who: Who,
    layers: Left,
) -> Result<bool> {
    let insecure: Vec<String> = insecure.then(|| name.domain.clone()).into_iter().collect();
    let repository = engine.registries(&insecure).writable(name, credentials_of(who));
    let asked = layers.iter().map(|(digest, from)| {
        let from = from.as_ref().and_then(|from| neighbour(name, from));
        has(&repository, digest, from)
    });
    let mut answers = futures_util::stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some(is_there) = answers.try_next().await? {
        if !is_there {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn has(repository: &Repository, digest: &Digest, from: Option<&str>) -> Result<bool> {
    if repository.has_blob(digest).await.map_err(registry_error)? {
        return Ok(true);
    }
    let Some(from) = from else { return Ok(false) };
    let begun = repository.begin_blob(Some((digest, from))).await.map_err(registry_error)?;
    Ok(matches!(begun, Begun::Mounted))
}

/// The repository of a name if it is another one of the same registry.
pub(super) fn neighbour<'f>(own: &Reference, from: &'f Reference) -> Option<&'f str> {
    (from.domain == own.domain && from.path != own.path).then_some(from.path.as_str())
}

/// A registry has lost what it said it had.
pub(super) fn lost(digest: &Digest) -> Error {
    Error::system(format!("layer {digest} is not here, and the registry does not have it any more"))
        .with_hint("build again: the layer is fetched then from where its image is")
}
