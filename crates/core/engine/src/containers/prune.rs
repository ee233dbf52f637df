//! `docker container prune`.

use std::collections::BTreeMap;

use api::containers::PruneReport;
use api::filters::Filters;

use super::{list, record, remove};
use crate::error::{Kind, Result};
use crate::{Engine, events, volumes};

/// Removes the containers that do not run.
pub async fn prune(engine: &Engine, filters: Filters) -> Result<PruneReport> {
    filters.accept(&["until", "label", "label!"])?;
    let until = filters.instant(&["until"])?;
    engine
        .blocking(move |engine| {
            let mut report = PruneReport::default();
            for seen in list::everything(engine)? {
                let record = &seen.record;
                let recent = until.is_some_and(|until| record.created_at() >= until);
                if seen.status.state.is_live()
                    || recent
                    || !filters.prune_labels(&record.document.config.labels)
                {
                    continue;
                }
                let size = volumes::disk_usage(&engine.container_dir(&record.id).join("upper"));
                match remove_if_stopped(engine, &record.id) {
                    Ok(()) => {
                        report.containers_deleted.push(record.id.clone());
                        report.space_reclaimed += size;
                    }
                    // Started or removed in between.
                    Err(e) if matches!(e.kind, Kind::Conflict | Kind::NotFound) => {}
                    Err(e) => return Err(e),
                }
            }
            let attributes = BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
            events::emit(engine, "container", "prune", "", &attributes);
            Ok(report)
        })
        .await
}

fn remove_if_stopped(engine: &Engine, id: &str) -> Result<()> {
    let (_lock, record) = record::locked(engine, id)?;
    remove::check_stopped(engine, &record)?;
    remove::remove_locked(engine, &record, false)
}
