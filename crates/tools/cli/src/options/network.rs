//! `--network`, in its short form (a name) and its long one (`name=…,alias=…,ip=…`).

use std::collections::BTreeMap;

use api::networks::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};

use super::mount::csv;

/// One `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    pub target: String,
    pub aliases: Vec<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub ipv4: String,
    pub ipv6: String,
    pub link_local: Vec<String>,
    pub mac: String,
    pub gw_priority: i64,
}

pub fn parse(spec: &str) -> Result<Attachment, String> {
    let mut out = Attachment::default();
    if !spec.contains('=') {
        out.target = spec.to_owned();
        return Ok(out);
    }
    for field in csv(spec)? {
        let Some((key, value)) = field.split_once('=') else { return Err(format!("invalid field {field}")) };
        let (key, value) = (key.trim().to_lowercase(), value.trim());
        match key.as_str() {
            "name" => out.target = value.to_owned(),
            "alias" => out.aliases.push(value.to_owned()),
            "driver-opt" => {
                let (name, option) = value
                    .split_once('=')
                    .ok_or_else(|| "invalid key value pair format in driver options".to_owned())?;
                out.driver_opts.insert(name.trim().to_lowercase(), option.trim().to_owned());
            }
            "ip" => out.ipv4 = value.to_owned(),
            "ip6" => out.ipv6 = value.to_owned(),
            "link-local-ip" => out.link_local.push(value.to_owned()),
            "mac-address" => out.mac = value.to_owned(),
            "gw-priority" => {
                out.gw_priority = value.parse().map_err(|_| format!("invalid gw-priority: {value}"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    match out.target.is_empty() {
        true => Err("network name/id is not specified".to_owned()),
        false => Ok(out),
    }
}

/// The flags that concern the first network: `--network-alias`, `--ip`, `--ip6`, `--link-local-ip`,
/// `--mac-address`.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    pub aliases: Vec<String>,
    pub ipv4: String,
    pub ipv6: String,
    pub link_local: Vec<String>,
    pub mac: String,
}

/// A name that stands for no network that a user made.
pub fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none" | "") && !name.starts_with("container:")
}

/// The network mode and the endpoints of all `--network` flags together.
pub fn config(mut networks: Vec<Attachment>, shared: Shared) -> Result<(String, NetworkingConfig), String> {
    let mut endpoints = BTreeMap::new();
    if networks.iter().any(|network| network.target.is_empty()) {
        return Err("no name set for network".to_owned());
    }
    if networks.len() > 1
        && networks.iter().any(|network| {
            !is_user_defined(&network.target) && network.target != "bridge" && network.target != "default"
        })
    {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                .to_owned(),
        );
    }
    if networks.is_empty() {
        networks.push(Attachment { target: "default".to_owned(), ..Attachment::default() });
    }
    merge(&mut networks[0], shared)?;
    let mode = networks[0].target.clone();
    for network in networks {
        let target = network.target.clone();
        let host_or_none = matches!(target.as_str(), "host" | "none") || target.starts_with("container:");
        let settings = settings(network)?;
        if host_or_none && settings == EndpointSettings::default() {
            continue;
        }
        if target == "default" && settings == EndpointSettings::default() {
            continue;
        }
        if endpoints.insert(target.clone(), Some(settings)).is_some() {
            return Err(format!("network {} is specified multiple times", template::quote(&target)));
        }
    }
    Ok((mode, NetworkingConfig { endpoints_config: endpoints }))
}

fn merge(first: &mut Attachment, shared: Shared) -> Result<(), String> {
    let conflict = |flag: &str, field: &str| {
        Err(format!("conflicting options: cannot specify both {flag} and per-network {field}"))
    };
    if !shared.aliases.is_empty() && !first.aliases.is_empty() {
        return conflict("--network-alias", "alias");
    }
    if !shared.ipv4.is_empty() && !first.ipv4.is_empty() {
        return conflict("--ip", "IPv4 address");
    }
    if !shared.ipv6.is_empty() && !first.ipv6.is_empty() {
        return conflict("--ip6", "IPv6 address");
    }
    if !shared.mac.is_empty() && !first.mac.is_empty() {
        return conflict("--mac-address", "MAC address");
    }
    if !shared.link_local.is_empty() && !first.link_local.is_empty() {
        return conflict("--link-local-ip", "link-local IP addresses");
    }
    let take = |ours: &mut String, theirs: String| {
        if !theirs.is_empty() {
            *ours = theirs;
        }
    };
    take(&mut first.ipv4, shared.ipv4);
    take(&mut first.ipv6, shared.ipv6);
    take(&mut first.mac, shared.mac);
    first.aliases.extend(shared.aliases);
    first.link_local.extend(shared.link_local);
    Ok(())
}

fn settings(network: Attachment) -> Result<EndpointSettings, String> {
    if let Some(alias) = network.aliases.iter().find(|_| network.target.starts_with("container:")) {
        return Err(format!("conflicting options: alias {alias} and the container type network"));
    }
    for address in [&network.ipv4, &network.ipv6].into_iter().filter(|address| !address.is_empty()) {
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("invalid IP address: {address}"));
        }
    }
    let mac = network.mac.to_lowercase().replace('-', ":");
    if !mac.is_empty() && !is_mac(&mac) {
        return Err(format!("{} is not a valid mac address", network.mac));
    }
    let ipam = EndpointIpamConfig {
        ipv4_address: network.ipv4,
        ipv6_address: network.ipv6,
        link_local_ips: network.link_local,
    };
    Ok(EndpointSettings {
        ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
        aliases: network.aliases,
        mac_address: mac,
        driver_opts: network.driver_opts,
        gw_priority: network.gw_priority,
        ..EndpointSettings::default()
    })
}

fn is_mac(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    bytes.len() == 6 && bytes.iter().all(|byte| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_form() {
        let got = parse("name=front,alias=web,alias=www,ip=172.18.0.9,driver-opt=a=b,gw-priority=2").unwrap();
        assert_eq!(got.target, "front");
        assert_eq!(got.aliases, ["web", "www"]);
        assert_eq!(got.driver_opts["a"], "b");
        assert_eq!(got.gw_priority, 2);
        assert_eq!(parse("alias=x").unwrap_err(), "network name/id is not specified");
        assert_eq!(parse("name=x,foo=1").unwrap_err(), "invalid field key foo");
    }

    #[test]
    fn endpoints() {
        let run = |names: &[&str], shared: Shared| {
            let networks = names.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
            config(networks, shared)
        };
        let (mode, endpoints) = run(&[], Shared::default()).unwrap();
        assert_eq!((mode.as_str(), endpoints.endpoints_config.len()), ("default", 0));
        let (mode, endpoints) = run(&["host"], Shared::default()).unwrap();
        assert_eq!((mode.as_str(), endpoints.endpoints_config.len()), ("host", 0));
        let shared = Shared { aliases: vec!["db".into()], ipv4: "10.0.0.2".into(), ..Shared::default() };
        let (mode, endpoints) = run(&["front", "back"], shared).unwrap();
        assert_eq!(mode, "front");
        let front = endpoints.endpoints_config["front"].as_ref().unwrap();
        assert_eq!(front.aliases, ["db"]);
        assert_eq!(front.ipam_config.as_ref().map(|ipam| ipam.ipv4_address.as_str()), Some("10.0.0.2"));
        assert!(endpoints.endpoints_config["back"].as_ref().unwrap().aliases.is_empty());
        assert!(run(&["front", "host"], Shared::default()).unwrap_err().starts_with("conflicting options"));
        assert_eq!(run(&[""], Shared::default()).unwrap_err(), "no name set for network");
        assert!(run(&["a", "a"], Shared::default()).is_err());
        let bad = Shared { mac: "zz".into(), ..Shared::default() };
        assert_eq!(run(&["a"], bad).unwrap_err(), "zz is not a valid mac address");
    }
}
