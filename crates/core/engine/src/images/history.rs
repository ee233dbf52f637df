//! `docker history`.

use api::images::HistoryItem;
use oci::Platform;
use oci::image::History;

use super::catalog::Catalog;
use super::platform;
use crate::Engine;
use crate::error::Result;

/// How an image came to be, newest step first; of several platforms' this one's.
pub async fn history(engine: &Engine, name: &str, platform: &str) -> Result<Vec<HistoryItem>> {
    let name = name.to_owned();
    let platform = platform::one(platform)?;
    engine.blocking(move |engine| history_blocking(engine, &name, platform.as_ref())).await
}

fn history_blocking(engine: &Engine, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryItem>> {
    let store = engine.store();
    let image = store.resolve(name, platform)?;
    let catalog = engine.db().read(|tx| Catalog::read(store, tx))?;
    let mut sizes = store.chain(image.chain().as_ref())?.into_iter().rev().map(|layer| layer.size as i64);
    let mut items = Vec::new();
    for step in &image.config.history {
        let size = if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
        items.push(item(step, size));
    }
    // An image may have layers that its history doesn't tell about.
    items.extend(sizes.map(|size| item(&History::default(), size)));
    items.reverse();
    // The newest step is the image itself; those below are images only if they were committed here.
    let mut next = catalog.get(&image.id);
    for item in &mut items {
        let Some(known) = next else { break };
        item.id = known.id.to_string();
        item.tags = known.all_tags().map(|tag| tag.reference.familiar()).collect();
        next = known.parent().and_then(|parent| catalog.get(parent));
    }
    Ok(items)
}

fn item(step: &History, size: i64) -> HistoryItem {
    let created = step.created.as_ref().and_then(|created| created.parse::<jiff::Timestamp>().ok());
    HistoryItem {
        comment: step.comment.clone(),
        created: created.map_or(0, |created| created.as_second()),
        created_by: step.created_by.clone(),
        id: "<missing>".to_owned(),
        size,
        tags: Vec::new(),
    }
}
