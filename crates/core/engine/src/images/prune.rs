//! `docker image prune`.

use api::filters::Filters;
use api::images::PruneReport;
use state::containers;

use super::catalog::{Catalog, Item};
use super::remove::remove_unused;
use crate::Engine;
use crate::error::{Kind, Result};

/// Removes images that no container uses: those without a tag or, with `dangling=false`, all of them.
pub async fn prune(engine: &Engine, filters: Filters) -> Result<PruneReport> {
    engine.blocking(move |engine| prune_blocking(engine, &filters)).await
}

fn prune_blocking(engine: &Engine, filters: &Filters) -> Result<PruneReport> {
    filters.accept(&["dangling", "label", "label!", "until"])?;
    let dangling_only = filters.boolean("dangling")?.unwrap_or(true);
    let until = filters.instant(&["until"])?;
    let store = engine.store();
    // What killed processes held nobody uses.
    store.bury_dead();
    let catalog = engine.db().read(|tx| Catalog::read(store, tx))?;
    let mut report = PruneReport::default();
    for item in &catalog.items {
        // What others were made from goes with them; what an index has goes with its name.
        let intermediate = item.names().next().is_none() && (item.children > 0 || item.is_member());
        let wanted = if dangling_only { item.tags.is_empty() } else { true };
        let in_time = until.is_none_or(|until| item.created().is_some_and(|created| created <= until));
        if intermediate || !wanted || !in_time || !filters.prune_labels(&item.labels()) {
            continue;
        }
        if engine.db().read(|tx| containers::of_image(tx, &item.id))?.is_empty() {
            remove_item(engine, item, &mut report)?;
        }
    }
    // What removals left over or crashes left behind goes too.
    report.space_reclaimed += store.gc()?.bytes;
    Ok(report)
}

fn remove_item(engine: &Engine, item: &Item, report: &mut PruneReport) -> Result<()> {
    let mut names: Vec<String> = item.names().map(|tag| tag.reference.familiar()).collect();
    if names.is_empty() {
        names.push(item.id.to_string());
    }
    for name in names {
        match remove_unused(engine, &name) {
            Ok((removed, bytes)) => {
                report.images_deleted.extend(removed);
                report.space_reclaimed += bytes;
            }
            // Somebody uses it, or has removed it with an earlier name.
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
