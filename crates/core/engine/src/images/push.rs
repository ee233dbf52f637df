//! `docker push`.

use api::JsonMessage;
use api::auth::AuthConfig;
use tokio::sync::mpsc::Sender;

use crate::Engine;
use crate::error::{Error, Result};

/// Refuses: this engine reads from registries only. An image that isn't here is told first, as Docker does.
pub async fn push(
    engine: &Engine,
    name: &str,
    tag: &str,
    _credentials: AuthConfig,
    _progress: Sender<JsonMessage>,
) -> Result<()> {
    let reference = super::reference::target(name, tag)?
        .ok_or_else(|| Error::invalid("invalid reference format"))?
        .familiar();
    engine
        .blocking(move |engine| match engine.store().find(&reference, None) {
            Ok(_) => Err(Error::not_implemented("pushing to registries is not supported by this engine")
                .with_hint("save the image with `dhow save` and push the archive with another tool")),
            Err(_) => {
                Err(Error::not_found(format!("An image does not exist locally with the tag: {reference}")))
            }
        })
        .await
}
