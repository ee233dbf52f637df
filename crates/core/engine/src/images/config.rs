//! An image's configuration, as it stands.

use oci::image::{ImageConfig, MANIFEST_MAX};
use oci::{Digest, Platform};
use store::Image;

use crate::Engine;
use crate::error::Result;

/// An image's manifest and configuration.
pub struct Configuration {
    /// Digest of the manifest.
    pub manifest: Digest,
    pub config: ImageConfig,
    /// The document itself.
    pub bytes: Vec<u8>,
}

/// The configuration of an image that is here, for a platform.
pub async fn config(engine: &Engine, name: &str, platform: Option<Platform>) -> Result<Configuration> {
    let name = name.to_owned();
    let find = move |engine: &Engine| Ok(engine.store().resolve(&name, platform.as_ref())?);
    configuration(engine, engine.blocking(find).await?).await
}

/// The configuration of an image that was found.
pub async fn configuration(engine: &Engine, image: Image) -> Result<Configuration> {
    let read = move |engine: &Engine| {
        let bytes = engine.store().read_blob(&image.manifest.config.digest, MANIFEST_MAX)?;
        Ok(Configuration { manifest: image.digest, config: image.config, bytes })
    };
    engine.blocking(read).await
}
