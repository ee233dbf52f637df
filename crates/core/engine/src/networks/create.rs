//! `docker network create`.

use std::collections::BTreeMap;

use api::networks::{CreateRequest, CreateResponse, Ipam, IpamConfig};
use ipnet::IpNet;
use network::{Bridge, Subnet, ipam};

use super::{Document, PREDEFINED, Record, free_subnet, ipam_config, now, own_subnets};
use crate::error::{Error, Result};
use crate::{Engine, events};

/// Bytes of a name, as of a file's.
const NAME_MAX: usize = 255;

/// Creates a network of driver `bridge`.
pub async fn create(engine: &Engine, request: CreateRequest) -> Result<CreateResponse> {
    engine.blocking(move |engine| create_now(engine, request)).await
}

fn create_now(engine: &Engine, request: CreateRequest) -> Result<CreateResponse> {
    check(&request)?;
    let settings = Settings::parse(&request.options)?;
    if let Some(ifname) = &settings.ifname {
        network::check_interface(ifname).map_err(|e| Error::forbidden(crate::error::chain(&e)))?;
    }
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
    // Docker takes anything but blanks. What would break lines of output, or is no part of a path, as in the API's own
    // paths, is refused here.
    let odd = name.contains(|c: char| c.is_control() || c == '/') || matches!(name, "." | "..");
    if name.trim().is_empty() || odd {
        return Err(Error::invalid(format!("invalid name: {name}")));
    }
    if name.len() > NAME_MAX {
        return Err(Error::invalid(format!("invalid name: it has more than {NAME_MAX} bytes")));
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
        let net = free_subnet(tx, &[])?.map_err(|e| Error::unavailable(e.to_string()))?;
        subnets.insert(0, Subnet::whole(net));
    }
    let has6 = subnets.iter().any(|s| s.net.addr().is_ipv6());
    if ipv6 && !has6 {
        let net = ipam::local_subnet6(id);
        subnets.push(Subnet::whole(net));
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
    if let Some(why) = unusable(&net) {
        return Err(Error::invalid(format!("invalid subnet {net}: {why}")));
    }
    if net.hosts().nth(1).is_none() {
        return Err(Error::forbidden("failed to allocate gateway (): No available addresses on this pool"));
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
    let auxiliary = config
        .auxiliary_addresses
        .iter()
        .map(|(name, text)| {
            let address = text.parse().ok().filter(|ip| net.contains(ip)).ok_or_else(|| {
                Error::invalid(format!("invalid auxiliary address {text}: parent subnet is {net}"))
            })?;
            Ok((name.clone(), address))
        })
        .collect::<Result<_>>()?;
    Ok(Subnet { net, gateway, range, auxiliary })
}

/// Why no container can have an address of a subnet: the kernel leads nothing to or from such addresses.
fn unusable(net: &IpNet) -> Option<&'static str> {
    let is_of = |of: &str| of.parse::<IpNet>().is_ok_and(|of| ipam::overlaps(&of, net));
    [
        ("127.0.0.0/8", "these are loopback addresses"),
        ("::1/128", "this is the loopback address"),
        ("224.0.0.0/4", "these are multicast addresses"),
        ("ff00::/8", "these are multicast addresses"),
        ("0.0.0.0/8", "these are addresses of this network, which nobody has"),
        ("::/128", "this is the unspecified address"),
        ("240.0.0.0/4", "these addresses are reserved"),
    ]
    .into_iter()
    .find_map(|(of, why)| is_of(of).then_some(why))
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
    fn subnets_that_nothing_is_led_to_are_refused() {
        for net in
            ["127.0.0.0/8", "127.5.0.0/16", "224.0.0.0/4", "0.0.0.0/8", "0.0.0.0/0", "255.255.255.255/32"]
        {
            let told = subnet(&config(net, "", "")).unwrap_err().message;
            assert!(told.starts_with(&format!("invalid subnet {net}: ")), "{told}");
        }
        assert!(subnet(&config("ff00::/64", "", "")).is_err());
        assert!(subnet(&config("fd00:1::/64", "", "")).is_ok());
        for net in ["10.99.0.0/32", "fd00::1/128"] {
            let told = subnet(&config(net, "", "")).unwrap_err().message;
            assert!(told.contains("No available addresses on this pool"), "{told}");
        }
        assert!(subnet(&config("10.99.0.0/30", "", "")).is_ok());
    }

    #[test]
    fn names_are_parts_of_paths() {
        let told = |name: &str| {
            check(&CreateRequest { name: name.to_owned(), ..CreateRequest::default() }).map_err(|e| e.message)
        };
        for name in ["n", "my net", "..x", &"x".repeat(255)] {
            assert_eq!(told(name), Ok(()), "{name}");
        }
        for name in ["", " ", ".", "..", "../x", "a/b", "a\nb", "a\0", &"x".repeat(256)] {
            assert!(told(name).unwrap_err().starts_with("invalid name: "), "{name}");
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
