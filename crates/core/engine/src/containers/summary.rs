//! The parts that `ps` and `inspect` share: networks, ports and sizes of a container.

use std::collections::BTreeMap;

use api::containers::{PortBinding, PortMap, SummaryPort};
use api::networks::{EndpointIpamConfig, EndpointSettings};

use super::ports;
use super::record::Record;
use crate::Engine;
use crate::networks::{EndpointRecord, address, names};

/// The settings of each network that a container is defined to join, with what an endpoint has if it runs.
pub(crate) fn networks(
    record: &Record,
    endpoints: &[EndpointRecord],
    ids_by_name: &BTreeMap<String, String>,
) -> BTreeMap<String, EndpointSettings> {
    record
        .document
        .networks
        .iter()
        .map(|(name, configured)| {
            // A network may have been named by its id.
            let id = ids_by_name.get(name).cloned().unwrap_or_else(|| configured.network_id.clone());
            let endpoint = endpoints.iter().find(|e| e.network == id);
            (name.clone(), settings(record, configured, id, endpoint))
        })
        .collect()
}

fn settings(
    record: &Record,
    configured: &EndpointSettings,
    network_id: String,
    endpoint: Option<&EndpointRecord>,
) -> EndpointSettings {
    let mut settings = EndpointSettings { network_id, ..configured.clone() };
    settings.dns_names = names::of_container(record, &configured.aliases);
    settings.ipam_config = configured.ipam_config.clone().filter(|c| *c != EndpointIpamConfig::default());
    let Some(endpoint) = endpoint.map(|e| &e.document.endpoint) else { return settings };
    settings.endpoint_id.clone_from(&endpoint.id);
    settings.mac_address = endpoint.mac.to_string();
    if let Some(v4) = address(endpoint, false) {
        settings.ip_address = v4.addr().to_string();
        settings.ip_prefix_len = i64::from(v4.prefix_len());
    }
    if let Some(v6) = address(endpoint, true) {
        settings.global_ipv6_address = v6.addr().to_string();
        settings.global_ipv6_prefix_len = i64::from(v6.prefix_len());
    }
    for gateway in &endpoint.gateways {
        let text = if gateway.is_ipv6() { &mut settings.ipv6_gateway } else { &mut settings.gateway };
        *text = gateway.to_string();
    }
    settings
}

/// `NetworkSettings.Ports`: each exposed port with its bindings.
pub(crate) fn port_map(record: &Record, endpoints: &[EndpointRecord]) -> PortMap {
    let mut map: PortMap = ports::exposed(&record.document.config.exposed_ports)
        .unwrap_or_default()
        .iter()
        .map(|port| (port.to_string(), None))
        .collect();
    for published in endpoints.iter().flat_map(|e| &e.document.endpoint.ports) {
        let key = format!("{}/{}", published.container_port, published.protocol);
        map.entry(key).or_default().get_or_insert_default().push(PortBinding {
            host_ip: published.host_ip.to_string(),
            host_port: published.host_port.to_string(),
        });
    }
    map
}

/// The ports of a line of `ps`.
pub(crate) fn port_list(record: &Record, endpoints: &[EndpointRecord]) -> Vec<SummaryPort> {
    let mut list = Vec::new();
    for (key, bindings) in port_map(record, endpoints) {
        for port in ports::parse(&key).unwrap_or_default() {
            let typ = port.protocol.to_string();
            let plain = SummaryPort { private_port: port.number, typ: typ.clone(), ..SummaryPort::default() };
            match &bindings {
                None => list.push(plain),
                Some(bindings) => list.extend(bindings.iter().map(|b| SummaryPort {
                    ip: b.host_ip.clone(),
                    public_port: b.host_port.parse().unwrap_or(0),
                    ..plain.clone()
                })),
            }
        }
    }
    list
}

/// Bytes of the writable layer, and of the whole root file system.
pub(crate) fn sizes(engine: &Engine, record: &Record) -> (i64, i64) {
    let own = crate::volumes::disk_usage(&engine.container_dir(&record.id).join("upper"));
    let below: u64 =
        engine.store().chain(record.layer.as_ref()).map_or(0, |layers| layers.iter().map(|l| l.size).sum());
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    (number(own), number(own.saturating_add(below)))
}
