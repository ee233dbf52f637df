//! `docker network create`.

use std::collections::BTreeMap;

use api::networks::{CreateRequest, CreateResponse, Ipam, IpamConfig};
use ipnet::IpNet;
use network::{Bridge, Subnet, ipam};

use super::{Document, PREDEFINED, Record, ipam_config, now, own_subnets, taken_subnets};
use crate::containers::name::is_restricted_name;
use crate::error::{Error, Result};
use crate::{Engine, events};

/// Creates a network of driver `bridge`.
pub async fn create(engine: &Engine, request: CreateRequest) -> Result<CreateResponse> {
    engine.blocking(move |engine| create_now(engine, request)).await
}

fn create_now(engine: &Engine, request: CreateRequest) -> Result<CreateResponse> {
    check(&request)?;
    let settings = Settings::parse(&request.options)?;
    let id = engine.new_id()?;
    let record = engine.db().write(|tx| -> Result<Record> {
        if state::networks::by_name(tx, &request.name)?.is_some() {
            return Err(Error::conflict(format!("network with name {} already exists", request.name)));
        }
        let asked = request.ipam.clone().unwrap_or_default();
        let subnets = subnets(tx, &id, &asked.config, request.enable_ipv6.unwrap_or(false))?;
        let bridge = Bridge {
            ifname: settings.ifname.clone().unwrap_or_else(|| network::bridge_name(&id)),
            subnets,
            mtu: settings.mtu,
            internal: request.internal,
            icc: settings.icc,
            masquerade: settings.masquerade,
        };
        let ipam = Ipam {
            driver: "default".to_owned(),
            options: asked.options,
            config: bridge.subnets.iter().map(ipam_config).collect(),
        };
        let document = Document {
            driver: "bridge".to_owned(),
            bridge: Some(bridge),
            attachable: request.attachable,
            enable_ipv6: request.enable_ipv6.unwrap_or(false),
            ipam,
            labels: request.labels.clone(),
            options: request.options.clone(),
        };
        let record = Record { id: id.clone(), name: request.name.clone(), created: now(), document };
        state::networks::insert(tx, &record.row()?)?;
        Ok(record)
    })?;
    let attributes =
        BTreeMap::from([("name".to_owned(), record.name), ("type".to_owned(), "bridge".to_owned())]);
    events::emit(engine, "network", "create", &id, &attributes);
    Ok(CreateResponse { id, warning: String::new() })
}

fn check(request: &CreateRequest) -> Result<()> {
    let name = request.name.as_str();
    if !is_restricted_name(name, 1) {
        return Err(Error::invalid(format!(
            "invalid network name ({name}): only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    if PREDEFINED.contains(&name) || name == "default" || name == "container" {
        return Err(Error::forbidden(format!("operation is not permitted on predefined {name} network")));
    }
    match request.driver.as_str() {
        "" | "bridge" | "default" => {}
        "host" | "null" => {
            return Err(Error::forbidden(format!(
                "only one instance of \"{}\" network is allowed",
                request.driver
            )));
        }
        other => {
            return Err(Error::not_found(format!(
                "could not find plugin {other} in v1 plugin registry: plugin not found"
            ))
            .with_hint("the network driver of this engine is bridge"));
        }
    }
    if request.ingress
        || request.config_only
        || request.config_from.as_ref().is_some_and(|c| !c.network.is_empty())
    {
        return Err(Error::invalid(
            "ingress and configuration-only networks belong to Swarm and are not supported",
        ));
    }
    if request.scope == "swarm" {
        return Err(Error::invalid("networks of scope swarm are not supported"));
    }
    if request.enable_ipv4 == Some(false) {
        return Err(Error::invalid("networks without IPv4 are not supported"));
    }
    match request.ipam.as_ref().map_or("", |i| i.driver.as_str()) {
        "" | "default" => Ok(()),
        other => Err(Error::invalid(format!("ipam driver {other:?} is not supported"))),
    }
}

/// What the driver's options say.
struct Settings {
    ifname: Option<String>,
    mtu: u32,
    icc: bool,
    masquerade: bool,
}

impl Settings {
    fn parse(options: &BTreeMap<String, String>) -> Result<Settings> {
        let mut settings = Settings { ifname: None, mtu: super::uplink_mtu(), icc: true, masquerade: true };
        for (key, value) in options {
            let invalid = || Error::invalid(format!("invalid value {value:?} of network option {key}"));
            let boolean = || value.parse::<bool>().map_err(|_| invalid());
            match key.as_str() {
                "com.docker.network.bridge.name" => {
                    let good = (1..=15).contains(&value.len())
                        && value
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
                        && !value.starts_with('.');
                    settings.ifname = Some(value.clone()).filter(|_| good);
                    if !good {
                        return Err(invalid());
                    }
                }
                "com.docker.network.driver.mtu" | "mtu" => {
                    settings.mtu =
                        value.parse().ok().filter(|n| (68..=65_535).contains(n)).ok_or_else(invalid)?;
                }
                "com.docker.network.bridge.enable_icc" => settings.icc = boolean()?,
                "com.docker.network.bridge.enable_ip_masquerade" => settings.masquerade = boolean()?,
                _ => return Err(Error::invalid(format!("network option {key} is not supported"))),
            }
        }
        Ok(settings)
    }
}

/// The asked subnets, checked against the other networks, or a free one.
fn subnets(tx: &state::Tx<'_>, id: &str, asked: &[IpamConfig], ipv6: bool) -> Result<Vec<Subnet>> {
    let own = own_subnets(tx)?;
    let mut subnets: Vec<Subnet> = Vec::new();
    for config in asked.iter().filter(|c| !c.subnet.is_empty() || !c.gateway.is_empty()) {
        let subnet = subnet(config)?;
        if own.iter().chain(subnets.iter().map(|s| &s.net)).any(|net| ipam::overlaps(net, &subnet.net)) {
            return Err(Error::forbidden(
                "invalid pool request: Pool overlaps with other one on this address space",
            ));
        }
        if subnets.iter().any(|s| s.net.addr().is_ipv4() == subnet.net.addr().is_ipv4()) {
            return Err(Error::invalid("a network has at most one subnet of each address family"));
        }
        subnets.push(subnet);
    }
    if !subnets.iter().any(|s| s.net.addr().is_ipv4()) {
        let net = ipam::pick_subnet(&taken_subnets(tx)?).map_err(|e| Error::unavailable(e.to_string()))?;
        subnets.insert(0, Subnet { net, gateway: ipam::default_gateway(net), range: None });
    }
    let has6 = subnets.iter().any(|s| s.net.addr().is_ipv6());
    if ipv6 && !has6 {
        let net = ipam::local_subnet6(id);
        subnets.push(Subnet { net, gateway: ipam::default_gateway(net), range: None });
    }
    if !ipv6 && has6 {
        return Err(Error::invalid("an IPv6 subnet needs a network with IPv6 enabled"));
    }
    Ok(subnets)
}

fn subnet(config: &IpamConfig) -> Result<Subnet> {
    let net: IpNet = config.subnet.parse::<IpNet>().map_err(|_| {
        Error::invalid(format!("invalid subnet {}: invalid CIDR block notation", config.subnet))
    })?;
    if net.addr() != net.network() {
        return Err(Error::invalid(format!("invalid subnet {net}: it should be {}", net.trunc())));
    }
    let gateway = match config.gateway.as_str() {
        "" => ipam::default_gateway(net),
        text => text
            .parse()
            .ok()
            .filter(|ip| net.contains(ip))
            .ok_or_else(|| Error::invalid(format!("invalid gateway {text}: parent subnet is {net}")))?,
    };
    let range = match config.ip_range.as_str() {
        "" => None,
        text => Some(
            text.parse::<IpNet>()
                .ok()
                .filter(|r| net.contains(r))
                .ok_or_else(|| Error::invalid(format!("invalid ip-range {text}: parent subnet is {net}")))?,
        ),
    };
    if !config.auxiliary_addresses.is_empty() {
        return Err(Error::invalid(
            "auxiliary addresses are not supported: use an ip-range that leaves them out",
        ));
    }
    Ok(Subnet { net, gateway, range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnet: &str, range: &str, gateway: &str) -> IpamConfig {
        IpamConfig {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            ..IpamConfig::default()
        }
    }

    #[test]
    fn subnets_are_checked() {
        let s = subnet(&config("172.20.0.0/16", "172.20.5.0/24", "")).unwrap();
        assert_eq!(
            (s.gateway.to_string(), s.range.unwrap().to_string()),
            ("172.20.0.1".into(), "172.20.5.0/24".into())
        );
        for (net, range, gateway) in [
            ("x", "", ""),
            ("172.20.0.1/16", "", ""),
            ("172.20.0.0/16", "10.0.0.0/24", ""),
            ("172.20.0.0/16", "", "10.0.0.1"),
        ] {
            assert!(subnet(&config(net, range, gateway)).is_err(), "{net} {range} {gateway}");
        }
    }

    #[test]
    fn options_are_known_or_refused() {
        let parse = |k: &str, v: &str| Settings::parse(&BTreeMap::from([(k.to_owned(), v.to_owned())]));
        assert_eq!(parse("com.docker.network.driver.mtu", "1400").unwrap().mtu, 1400);
        assert!(!parse("com.docker.network.bridge.enable_icc", "false").unwrap().icc);
        assert!(parse("com.docker.network.bridge.name", "br0/x").is_err());
        assert!(parse("moon", "1").is_err());
    }
}
