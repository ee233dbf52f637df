//! `docker network rm`.

use std::collections::BTreeMap;

use super::{Record, find};
use crate::error::{Context, Error, Result};
use crate::{Engine, events};

/// Removes a network without endpoints from the definitions and from the machine.
pub async fn remove(engine: &Engine, reference: &str) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let record = find(engine, &reference)?;
            if record.is_predefined() {
                return Err(Error::forbidden(format!(
                    "{} is a pre-defined network and cannot be removed",
                    record.name
                )));
            }
            remove_record(engine, &record)
        })
        .await
}

/// Removes a user-defined network.
pub(super) fn remove_record(engine: &Engine, record: &Record) -> Result<()> {
    engine.db().write(|tx| -> Result<()> {
        let endpoints = state::endpoints::of_network(tx, &record.id)?;
        if let Some(first) = endpoints.first() {
            let mut names = Vec::new();
            for endpoint in &endpoints {
                if let Some(container) = state::containers::get(tx, &endpoint.container)? {
                    names.push(format!("name:{:?} id:{:?}", container.name, crate::ids::short(&first.id)));
                }
            }
            return Err(Error::forbidden(format!(
                "error while removing network: network {} has active endpoints ({})",
                record.name,
                names.join(", ")
            )));
        }
        state::networks::delete(tx, &record.id)?;
        Ok(())
    })?;
    if let Some(plan) = record.plan() {
        network::remove_network(&plan).during(format_args!("remove network {}", record.name))?;
    }
    let attributes = BTreeMap::from([
        ("name".to_owned(), record.name.clone()),
        ("type".to_owned(), record.document.driver.clone()),
    ]);
    events::emit(engine, "network", "destroy", &record.id, &attributes);
    Ok(())
}
