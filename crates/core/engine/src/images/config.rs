//! An image's configuration, as it stands.

use oci::image::{ImageConfig, MANIFEST_MAX};
use oci::{Digest, Platform};

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
    engine
        .blocking(move |engine| {
            let store = engine.store();
            let image = store.resolve(&name, platform.as_ref())?;
            let bytes = store.read_blob(&image.manifest.config.digest, MANIFEST_MAX)?;
            Ok(Configuration { manifest: image.digest, config: image.config, bytes })
        })
        .await
}
