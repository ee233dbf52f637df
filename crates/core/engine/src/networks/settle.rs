//! The default network's subnet is chosen when a root is made, and nothing on the machine says so until its bridge is there. Other roots
//! may have chosen the same meanwhile, and other programs may have taken it: before the first container is on it, it is claimed, and
//! chosen anew if that fails.

use ipnet::IpNet;
use network::Subnet;

use super::{DEFAULT, Record, free_subnet, ipam_config};
use crate::Engine;
use crate::error::Result;

/// The network as it may be brought up. Those that people have defined are as they said.
pub(crate) fn settled(engine: &Engine, mut network: Record) -> Result<Record> {
    if network.name != DEFAULT {
        return Ok(network);
    }
    let mut tried = Vec::new();
    while let Some(plan) = network.plan() {
        // What keeps a network from being claimed keeps it from being brought up too, and is told there.
        if network::claim(&plan).unwrap_or(true) {
            break;
        }
        tried.extend(plan.bridge.subnets.iter().map(|subnet| subnet.net));
        match another(engine, &network, &tried)? {
            Some(other) => network = other,
            None => break,
        }
    }
    Ok(network)
}

/// The network with another subnet, or as another process has it by now; none where there is no other subnet, or somebody has an
/// address of this one.
fn another(engine: &Engine, network: &Record, tried: &[IpNet]) -> Result<Option<Record>> {
    engine.db().write(|tx| {
        let Some(row) = state::networks::get(tx, &network.id)? else { return Ok(None) };
        let mut found = Record::try_from(row)?;
        if found.document != network.document {
            return Ok(Some(found));
        }
        if !state::endpoints::of_network(tx, &network.id)?.is_empty() {
            return Ok(None);
        }
        let (Some(bridge), Ok(net)) = (&mut found.document.bridge, free_subnet(tx, tried)?) else {
            return Ok(None);
        };
        bridge.subnets = vec![Subnet::whole(net)];
        found.document.ipam.config = bridge.subnets.iter().map(ipam_config).collect();
        state::networks::set_document(tx, &found.id, &found.row()?.document)?;
        Ok(Some(found))
    })
}
