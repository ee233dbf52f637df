//! `docker tag`.

use std::collections::BTreeMap;

use super::{artifacts, reference};
use crate::error::{Error, Result};
use crate::{Engine, events};

/// Gives an image another name. A name that meant something else means this from now on.
pub async fn tag(engine: &Engine, name: &str, repo: &str, tag: &str) -> Result<()> {
    let (name, repo, tag) = (name.to_owned(), repo.to_owned(), tag.to_owned());
    engine
        .blocking(move |engine| {
            let new =
                reference::target(&repo, &tag)?.ok_or_else(|| Error::invalid("repository name is empty"))?;
            let now = jiff::Timestamp::now().to_string();
            let id = engine.db().write(|tx| -> Result<_> {
                if let Some(artifact) = artifacts::named_in(engine.store(), tx, &name)? {
                    state::tags::put(tx, &new, &artifact.target, &now)?;
                    return Ok(artifact.target);
                }
                let (image, named) = engine.store().find_in(tx, &name, None)?;
                state::images::keep(tx, &image.digest)?;
                // The name of an index goes on to mean all its platforms.
                let target = named.map_or(image.digest, |tag| tag.target);
                state::tags::put(tx, &new, &target, &now)?;
                Ok(image.id)
            })?;
            engine.store().touch(&id);
            let attributes = BTreeMap::from([("name".to_owned(), new.familiar())]);
            events::emit(engine, "image", "tag", &id.to_string(), &attributes);
            Ok(())
        })
        .await
}
