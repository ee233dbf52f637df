//! Taking back the images that a build made only to hand them out as files or archives.

use std::collections::BTreeSet;

use oci::Digest;
use state::{Tx, containers, images, leases, tags};

use crate::Engine;
use crate::error::{Error, Result};

/// Forgets these manifests, unless somebody has named or used them meanwhile or holds them, and collects what only they kept. Each
/// goes only if `goes` says so, which is asked within the transaction.
pub async fn discard(
    engine: &Engine,
    manifests: Vec<Digest>,
    goes: impl Fn(&Digest) -> bool + Send + 'static,
) -> Result<()> {
    engine
        .blocking(move |engine| {
            engine.store().bury_dead();
            engine.db().write(|tx| {
                let (members, held) = (members(engine, tx)?, leases::pinned(tx)?);
                for digest in &manifests {
                    let Some(record) = images::get(tx, digest)? else { continue };
                    let alone = images::by_id(tx, &record.id)?.len() == 1;
                    let used =
                        held.contains(digest) || alone && !containers::of_image(tx, &record.id)?.is_empty();
                    if !used && !members.contains(digest) && tags::of(tx, digest)?.is_empty() && goes(digest)
                    {
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

/// What names lead to by way of an index: a client may load its result, with what is attested of it, while it is forgotten.
fn members(engine: &Engine, tx: &Tx<'_>) -> Result<BTreeSet<Digest>> {
    let mut members = BTreeSet::new();
    for tag in tags::all(tx)? {
        if images::get(tx, &tag.target)?.is_none()
            && let Ok(index) = engine.store().index(&tag.target)
        {
            members.extend(index.manifests.into_iter().map(|member| member.digest));
        }
    }
    Ok(members)
}
