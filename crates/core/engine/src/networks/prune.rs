//! `docker network prune`.

use std::collections::BTreeMap;

use api::filters::Filters;
use api::networks::PruneReport;

use super::{all, remove};
use crate::error::{Kind, Result};
use crate::{Engine, containers, events, prune};

/// Removes the user-defined networks that no container is defined to join.
pub async fn prune(engine: &Engine, filters: Filters) -> Result<PruneReport> {
    filters.accept(&["until", "label", "label!"])?;
    let until = prune::until(&filters)?;
    engine
        .blocking(move |engine| {
            let mut report = PruneReport::default();
            let wanted: Vec<String> = containers::record::list(engine)?
                .into_iter()
                .flat_map(|c| c.document.networks.into_keys().chain([c.document.host_config.network_mode]))
                .collect();
            for record in all(engine)? {
                let named = wanted.iter().any(|w| *w == record.name || *w == record.id);
                let recent = until.is_some_and(|until| i128::from(record.created) >= until.as_nanosecond());
                if record.is_predefined() || named || recent || !filters.prune_labels(&record.document.labels)
                {
                    continue;
                }
                match remove::remove_record(engine, &record) {
                    Ok(()) => report.networks_deleted.push(record.name),
                    Err(e) if e.kind == Kind::Forbidden => {}
                    Err(e) => return Err(e),
                }
            }
            let attributes = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
            events::emit(engine, "network", "prune", "", &attributes);
            Ok(report)
        })
        .await
}
