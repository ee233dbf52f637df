//! `docker network disconnect`.

use api::networks::DisconnectRequest;

use super::{endpoints_of, find, names};
use crate::Engine;
use crate::containers::{networking, record};
use crate::error::{Error, Result};

/// Takes a network out of a container's definition and, if it runs, its interface away.
pub async fn disconnect(engine: &Engine, reference: &str, request: DisconnectRequest) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let network = find(engine, &reference)?;
            let found = match record::find(engine, &request.container) {
                // A container that is gone cannot be connected: `force` asks for no more.
                Err(e) if request.force && e.kind == crate::Kind::NotFound => return Ok(()),
                found => found?,
            };
            let (_lock, mut record) = record::locked(engine, &found.id)?;
            if network.name == "host" || record.document.host_config.network_mode == "host" {
                return Err(Error::forbidden(
                    "container cannot be disconnected from host network or connected to host network",
                ));
            }
            if record.document.networks.remove(&network.name).is_none() {
                return Err(Error::forbidden(format!(
                    "container {} is not connected to network {}",
                    record.id, network.name
                )));
            }
            if record.document.host_config.network_mode == network.name {
                let next = record.document.networks.keys().next().map_or("none", String::as_str);
                record.document.host_config.network_mode = next.to_owned();
            }
            let endpoint = endpoints_of(engine, &record.id)?.into_iter().find(|e| e.network == network.id);
            record::save(engine, &record)?;
            if let Some(endpoint) = endpoint {
                networking::detach(&endpoint);
                engine.db().write(|tx| state::endpoints::delete(tx, &endpoint.document.endpoint.id))?;
                if !endpoint.document.endpoint.gateways.is_empty() {
                    networking::reroute(engine, &record.id)?;
                }
                networking::write_names(engine, &record)?;
                names::publish_of(engine, &record.id, &[endpoint])?;
                if let Some(plan) = network.plan() {
                    networking::announce(engine, &plan, &record.id, "disconnect");
                }
            }
            Ok(())
        })
        .await
}
