//! `docker network inspect`.

use std::collections::BTreeMap;

use api::networks::{EndpointResource, Network};

use super::{EndpointRecord, Record, address, find};
use crate::Engine;
use crate::error::{Error, Result};

/// One network with the running containers in it. All networks have the scope `local`.
pub async fn inspect(engine: &Engine, reference: &str, scope: &str) -> Result<Network> {
    let (reference, scope) = (reference.to_owned(), scope.to_owned());
    engine
        .blocking(move |engine| {
            let record = find(engine, &reference)?;
            if !matches!(scope.as_str(), "" | "local") {
                return Err(Error::not_found(format!("network {reference} not found")));
            }
            let mut network = record.network();
            network.containers = containers(engine, &record)?;
            Ok(network)
        })
        .await
}

fn containers(engine: &Engine, record: &Record) -> Result<BTreeMap<String, EndpointResource>> {
    let rows = engine.db().read(|tx| -> Result<Vec<_>> {
        let rows = state::endpoints::of_network(tx, &record.id)?;
        rows.into_iter()
            .map(|row| Ok((state::containers::get(tx, &row.container)?.map(|c| c.name), row)))
            .collect()
    })?;
    let text = |e: &network::Endpoint, v6| address(e, v6).map(|a| a.to_string()).unwrap_or_default();
    let mut containers = BTreeMap::new();
    for (name, row) in rows {
        // The step of a build has an endpoint, too, but is no container.
        let Some(name) = name else { continue };
        let endpoint = EndpointRecord::try_from(row)?;
        let e = &endpoint.document.endpoint;
        let resource = EndpointResource {
            name,
            endpoint_id: e.id.clone(),
            mac_address: e.mac.to_string(),
            ipv4_address: text(e, false),
            ipv6_address: text(e, true),
        };
        containers.insert(endpoint.container, resource);
    }
    Ok(containers)
}
