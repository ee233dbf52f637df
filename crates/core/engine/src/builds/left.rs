//! What a failed step left, as images that are lent to whoever asked.

use std::sync::Arc;

use api::build::BuiltImage;
use builder::Left;
use oci::image::{Descriptor, ImageConfig};
use oci::{ChainId, Platform, media_types};
use store::Lease;

use crate::Engine;
use crate::error::{Error, Result};

/// The file system as it was then, the one that the step began with, and what its mounts began with.
pub struct Images {
    pub after: BuiltImage,
    pub before: Option<BuiltImage>,
    /// With the path in each.
    pub mounts: Vec<Option<(BuiltImage, String)>>,
    /// What those held then that were written to.
    pub mounts_after: Vec<Option<BuiltImage>>,
}

/// Makes images of what a failed step left, which stay as long as the lease.
pub async fn left(engine: &Engine, lease: Arc<Lease>, left: Arc<Left>) -> Result<Images> {
    let made = engine.blocking(move |engine| {
        let of = |chain: &ChainId| image(engine, &lease, chain);
        let mount = |mount: &(ChainId, String)| Ok((of(&mount.0)?, mount.1.clone()));
        let mounts = left.mounts.iter().map(|given| given.as_ref().map(mount).transpose());
        let after = left.mounts_after.iter().map(|given| given.as_ref().map(of).transpose());
        Ok(Images {
            after: of(&left.after)?,
            before: left.before.as_ref().map(of).transpose()?,
            mounts: mounts.collect::<Result<_>>()?,
            mounts_after: after.collect::<Result<_>>()?,
        })
    });
    made.await
}

/// Layers that a failed step worked on, as an image that stays as long as the lease.
pub async fn layers(engine: &Engine, lease: Arc<Lease>, chain: ChainId) -> Result<BuiltImage> {
    engine.blocking(move |engine| image(engine, &lease, &chain)).await
}

/// Layers as an image that says nothing else.
fn image(engine: &Engine, lease: &Lease, chain: &ChainId) -> Result<BuiltImage> {
    let store = engine.store();
    let gone = || Error::not_found(format!("layer {chain} is gone"));
    store.use_layer(lease, chain)?.ok_or_else(gone)?;
    let mut layers = store.chain(Some(chain))?;
    layers.reverse();
    let platform = Platform::host();
    let mut config = ImageConfig::new(&platform);
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let descriptors = layers.iter().map(|layer| store.descriptor(layer)).collect();
    let put = store.lend_image(lease, &config, descriptors)?;
    let digest = put.image.digest;
    let size = store.blob_size(&digest)?.unwrap_or_default();
    let manifest = Descriptor::new(media_types::OCI_MANIFEST, digest, size);
    Ok(BuiltImage {
        id: put.image.id.to_string(),
        manifest: Some(manifest),
        platform: platform.to_string(),
        ..BuiltImage::default()
    })
}
