//! Taking back the images that a build made only to hand them out as files or archives.

use oci::Digest;
use state::{containers, images, tags};

use crate::Engine;
use crate::error::{Error, Result};

/// Forgets these manifests, unless somebody has named or used them meanwhile, and collects what only they kept.
pub async fn discard(engine: &Engine, manifests: Vec<Digest>) -> Result<()> {
    engine
        .blocking(move |engine| {
            engine.db().write(|tx| {
                for digest in &manifests {
                    let Some(record) = images::get(tx, digest)? else { continue };
                    let alone = images::by_id(tx, &record.id)?.len() == 1;
                    let used = alone && !containers::of_image(tx, &record.id)?.is_empty();
                    if !used && tags::of(tx, digest)?.is_empty() {
                        images::remove(tx, digest)?;
                    }
                }
                Ok::<_, Error>(())
            })?;
            engine.store().gc()?;
            Ok(())
        })
        .await
}
