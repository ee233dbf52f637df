//! Networks: definitions in the database, what works from them in the kernel (the `network` crate).
//!
//! Three exist from the first opening on: `bridge` (interface `dhow0`), `host` and `none`. User-defined ones have the
//! driver `bridge`. Containers find each other by name on these ([`names`]), by address on all.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod list;
pub(crate) mod names;
mod prune;
mod remove;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::networks::{EndpointSettings, Ipam, IpamConfig, Network as ApiNetwork};
use ipnet::IpNet;
use jiff::Timestamp;
use network::{Bridge, Subnet, ipam};
use serde::{Deserialize, Serialize};

use crate::containers::networking::default_gateway;
use crate::error::{Context, Error, Result};
use crate::{Engine, ids};

pub use connect::connect;
pub use create::create;
pub use disconnect::disconnect;
pub use inspect::inspect;
pub use list::list;
pub use prune::prune;
pub use remove::remove;
pub(crate) use settle::settled;

/// The network that containers join unless they say otherwise.
pub(crate) const DEFAULT: &str = "bridge";
/// The networks that cannot be removed.
pub(crate) const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];
const DEFAULT_INTERFACE: &str = "dhow0";
const MTU: u32 = 1500;

/// What a packet may have on its way out of this machine: larger ones from containers would be lost where the answer
/// that says so is filtered.
fn uplink_mtu() -> u32 {
    network::uplink_mtu().ok().flatten().map_or(MTU, |mtu| mtu.min(MTU))
}

/// The part of a network's definition that is one JSON text in the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// How it works on this machine; `None` for `host` and `null`.
    pub bridge: Option<Bridge>,
    pub attachable: bool,
    pub enable_ipv6: bool,
    pub ipam: Ipam,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// A network as defined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub id: String,
    pub name: String,
    pub created: i64,
    pub document: Document,
}

impl TryFrom<state::networks::Network> for Record {
    type Error = Error;

    fn try_from(row: state::networks::Network) -> Result<Record> {
        let document = serde_json::from_str(&row.document)
            .during(format_args!("read the stored definition of network {}", row.name))?;
        Ok(Record { id: row.id, name: row.name, created: row.created, document })
    }
}

impl Record {
    fn row(&self) -> Result<state::networks::Network> {
        Ok(state::networks::Network {
            id: self.id.clone(),
            name: self.name.clone(),
            created: self.created,
            document: serde_json::to_string(&self.document).during("write a network's definition")?,
        })
    }

    /// What the `network` crate works with; `None` for `host` and `none`.
    pub fn plan(&self) -> Option<network::Network> {
        let bridge = self.document.bridge.clone()?;
        Some(network::Network { id: self.id.clone(), name: self.name.clone(), bridge })
    }

    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// As the API reports it, without the containers in it.
    pub fn network(&self) -> ApiNetwork {
        let d = &self.document;
        ApiNetwork {
            name: self.name.clone(),
            id: self.id.clone(),
            created: Timestamp::from_nanosecond(i128::from(self.created)).unwrap_or_default().to_string(),
            scope: "local".to_owned(),
            driver: d.driver.clone(),
            enable_ipv4: true,
            enable_ipv6: d.enable_ipv6,
            ipam: d.ipam.clone(),
            internal: d.bridge.as_ref().is_some_and(|b| b.internal),
            attachable: d.attachable,
            options: d.options.clone(),
            labels: d.labels.clone(),
            ..ApiNetwork::default()
        }
    }
}

/// One endpoint's JSON text in the database: what the kernel has, and what its container asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndpointDocument {
    pub endpoint: network::Endpoint,
    #[serde(default)]
    pub settings: EndpointSettings,
}

/// An endpoint as recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EndpointRecord {
    pub network: String,
    pub container: String,
    pub document: EndpointDocument,
}

impl TryFrom<state::endpoints::Endpoint> for EndpointRecord {
    type Error = Error;

    fn try_from(row: state::endpoints::Endpoint) -> Result<EndpointRecord> {
        let document = serde_json::from_str(&row.document)
            .during(format_args!("read the stored endpoint {}", ids::short(&row.id)))?;
        Ok(EndpointRecord { network: row.network, container: row.container, document })
    }
}

/// The address of one family with its prefix length.
pub(crate) fn address(endpoint: &network::Endpoint, v6: bool) -> Option<IpNet> {
    endpoint.addresses.iter().copied().find(|a| a.addr().is_ipv6() == v6)
}

/// The network that a user means: its name, its id or the start of it.
pub(crate) fn find(engine: &Engine, reference: &str) -> Result<Record> {
    use state::networks as table;
    let missing = || match reference {
        // The only one that may lack of those that are made with the root.
        DEFAULT => no_default(),
        _ => Error::not_found(format!("network {reference} not found")),
    };
    if reference.is_empty() {
        return Err(missing());
    }
    let row = engine.db().read(|tx| -> Result<_> {
        if let Some(row) = table::get(tx, reference)? {
            return Ok(row);
        }
        if let Some(row) = table::by_name(tx, reference)? {
            return Ok(row);
        }
        if !ids::is_prefix(reference) {
            return Err(missing());
        }
        let mut rows = table::by_id_prefix(tx, reference)?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            (Some(_), false) => Err(Error::invalid(format!(
                "network {reference} is ambiguous (2 matches found based on ID prefix)"
            ))),
            (None, _) => Err(missing()),
        }
    })?;
    row.try_into()
}

/// All networks, oldest first.
pub(crate) fn all(engine: &Engine) -> Result<Vec<Record>> {
    engine.db().read(state::networks::list)?.into_iter().map(Record::try_from).collect()
}

/// The endpoints of a running container.
pub(crate) fn endpoints_of(engine: &Engine, container: &str) -> Result<Vec<EndpointRecord>> {
    let rows = engine.db().read(|tx| state::endpoints::of_container(tx, container))?;
    rows.into_iter().map(EndpointRecord::try_from).collect()
}

/// Why there is no default network.
fn no_default() -> Error {
    let error = Error::unavailable(format!("network {DEFAULT}: {}", ipam::Error::PoolsExhausted));
    error.with_hint(
        "remove networks that nobody needs (dhow network prune), or bridges that others left on this machine \
         (ip -brief link show type bridge); --network none and --network host need none",
    )
}

/// Makes the three predefined networks known if they are not. The default one has to wait where the machine has no subnet for it:
/// much goes without.
pub(crate) fn ensure_predefined(engine: &Engine) -> Result<()> {
    let names: BTreeSet<String> =
        engine.db().read(state::networks::list)?.into_iter().map(|row| row.name).collect();
    if PREDEFINED.iter().all(|name| names.contains(*name)) {
        return Ok(());
    }
    engine.db().write(|tx| -> Result<()> {
        for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
            if state::networks::by_name(tx, name)?.is_some() {
                continue;
            }
            let id = engine.new_id()?;
            let bridge = match driver {
                "bridge" => match default_bridge(engine, tx, &id)? {
                    None => continue,
                    bridge => bridge,
                },
                _ => None,
            };
            let mut ipam = Ipam { driver: "default".to_owned(), ..Ipam::default() };
            let mut options = BTreeMap::new();
            if let Some(bridge) = &bridge {
                ipam.config = bridge.subnets.iter().map(ipam_config).collect();
                for (key, value) in [
                    ("default_bridge", "true"),
                    ("enable_icc", "true"),
                    ("enable_ip_masquerade", "true"),
                    ("host_binding_ipv4", "0.0.0.0"),
                    ("name", bridge.ifname.as_str()),
                ] {
                    options.insert(format!("com.docker.network.bridge.{key}"), value.to_owned());
                }
                options.insert("com.docker.network.driver.mtu".to_owned(), bridge.mtu.to_string());
            }
            let document =
                Document { driver: driver.to_owned(), bridge, ipam, options, ..Document::default() };
            let record = Record { id, name: name.to_owned(), created: now(), document };
            state::networks::insert(tx, &record.row()?)?;
        }
        Ok(())
    })
}

/// Only the usual root's default bridge has the name that people know: others may live on the same machine. None if no subnet is
/// free. Bridges of a root that was at this place before go.
fn default_bridge(engine: &Engine, tx: &state::Tx<'_>, id: &str) -> Result<Option<Bridge>> {
    let usual = engine.config().root == std::path::Path::new(crate::DEFAULT_ROOT);
    let ifname = if usual { DEFAULT_INTERFACE.to_owned() } else { network::bridge_name(id) };
    // Where a root is made at the place of one that was removed, again and again, each would leave a bridge.
    let known = state::networks::list(tx)?.into_iter().map(|row| row.id).collect();
    if let Err(error) = network::remove_unknown(&engine.config().root, &known) {
        tracing::warn!(%error, "bridges of a root that was here before stay");
    }
    let Ok(net) = free_subnet(tx, &[])? else { return Ok(None) };
    Ok(Some(Bridge {
        ifname,
        subnets: vec![Subnet::whole(net)],
        mtu: uplink_mtu(),
        internal: false,
        icc: true,
        masquerade: true,
    }))
}

/// What `host-gateway` stands for in `--add-host`, see [`default_gateway`]; none where there is no default network.
pub async fn host_gateway(engine: &Engine) -> Result<Option<IpAddr>> {
    engine.blocking(default_gateway).await
}

/// A subnet that nobody has, and none of those that were `tried`. Roots that were removed have left their bridges: when there is no
/// other, theirs are free.
pub(crate) fn free_subnet(
    tx: &state::Tx<'_>,
    tried: &[IpNet],
) -> Result<std::result::Result<IpNet, ipam::Error>> {
    let pick = || -> Result<_> { Ok(ipam::pick_subnet(&[taken_subnets(tx)?, tried.to_vec()].concat())) };
    match pick()? {
        Err(ipam::Error::PoolsExhausted) if network::remove_abandoned().system()? > 0 => pick(),
        picked => Ok(picked),
    }
}

/// The subnets of all networks and the machine's routes.
pub(crate) fn taken_subnets(tx: &state::Tx<'_>) -> Result<Vec<IpNet>> {
    let mut taken = own_subnets(tx)?;
    taken.extend(network::host_routes().system()?);
    Ok(taken)
}

/// The subnets of all networks.
pub(crate) fn own_subnets(tx: &state::Tx<'_>) -> Result<Vec<IpNet>> {
    let mut subnets = Vec::new();
    for row in state::networks::list(tx)? {
        let record = Record::try_from(row)?;
        subnets.extend(record.document.bridge.iter().flat_map(|b| &b.subnets).map(|s| s.net));
    }
    Ok(subnets)
}

/// A subnet as the API reports it.
pub(crate) fn ipam_config(subnet: &Subnet) -> IpamConfig {
    IpamConfig {
        subnet: subnet.net.to_string(),
        ip_range: subnet.range.map(|r| r.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.to_string(),
        auxiliary_addresses: subnet
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// The addresses that a network's endpoints have.
pub(crate) fn used(tx: &state::Tx<'_>, network: &str) -> Result<BTreeSet<IpAddr>> {
    let rows = state::endpoints::of_network(tx, network)?;
    Ok(rows.iter().flat_map(|row| [&row.ipv4, &row.ipv6]).flatten().filter_map(|a| a.parse().ok()).collect())
}
