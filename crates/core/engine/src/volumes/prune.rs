//! `docker volume prune`.

use std::collections::BTreeMap;

use api::filters::Filters;
use api::volumes::PruneReport;

use super::{Record, disk_usage, remove_unused};
use crate::error::{Kind, Result};
use crate::{Engine, events};

/// Removes the volumes that no container uses: anonymous ones, with the filter `all=true` also named ones.
pub async fn prune(engine: &Engine, filters: Filters) -> Result<PruneReport> {
    filters.accept(&["all", "label", "label!"])?;
    let all = filters.boolean("all")?.unwrap_or(false);
    engine
        .blocking(move |engine| {
            let mut report = PruneReport::default();
            for row in engine.db().read(state::volumes::list)? {
                let record = Record::try_from(row)?;
                if !(all || record.anonymous) || !filters.prune_labels(&record.document.labels) {
                    continue;
                }
                // A bound directory of the host is not the volume's to count.
                let size = match record.document.options.contains_key("device") {
                    true => 0,
                    false => disk_usage(&record.data(engine)),
                };
                match remove_unused(engine, &record) {
                    Ok(()) => {
                        report.volumes_deleted.push(record.name);
                        report.space_reclaimed += size;
                    }
                    Err(e) if e.kind == Kind::Conflict => {}
                    Err(e) => return Err(e),
                }
            }
            let attributes = BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
            events::emit(engine, "volume", "prune", "", &attributes);
            Ok(report)
        })
        .await
}
