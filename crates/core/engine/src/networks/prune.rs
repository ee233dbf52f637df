//! `docker network prune`.

use std::collections::BTreeMap;

use api::filters::Filters;
use api::networks::PruneReport;

use super::{Record, all, remove};
use crate::error::{Context, Kind, Result};
use crate::{Engine, containers, events};

/// Removes the user-defined networks that no container is defined to join, and what the machine has of the predefined ones.
pub async fn prune(engine: &Engine, filters: Filters) -> Result<PruneReport> {
    filters.accept(&["until", "label", "label!"])?;
    let until = filters.instant(&["until"])?;
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
                if named || recent || !filters.prune_labels(&record.document.labels) {
                    continue;
                }
                if record.is_predefined() {
                    put_away(engine, &record)?;
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

/// Takes a network that nobody is on off the machine; its next container brings it back.
fn put_away(engine: &Engine, record: &Record) -> Result<()> {
    let Some(plan) = record.plan() else { return Ok(()) };
    // Who joins is written down first, which waits for this transaction.
    engine.db().write_fleeting(|tx| -> Result<()> {
        if state::endpoints::of_network(tx, &record.id)?.is_empty() {
            network::remove_network(&plan)
                .during(format_args!("take network {} off the machine", record.name))?;
        }
        Ok(())
    })
}
