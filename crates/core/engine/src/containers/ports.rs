//! Ports that a container exposes and publishes. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use api::containers::{NameSet, PortMap};
use network::Protocol;
use network::ports::Request;

use crate::error::{Error, Result};

/// A port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Number, 1 to 65535.
    pub number: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`: the ports that a key of `ExposedPorts` or `PortBindings` names.
pub fn parse(spec: &str) -> Result<Vec<Port>> {
    let invalid = || Error::invalid(format!("invalid port specification: {spec:?}"));
    let (numbers, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol: Protocol = protocol.parse().map_err(|_| invalid())?;
    let range = range(numbers).ok_or_else(invalid)?;
    if *range.start() == 0 {
        return Err(invalid());
    }
    Ok(range.map(|number| Port { number, protocol }).collect())
}

/// `80` or `8000-8010`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse::<u16>().ok()).flatten();
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(first..=last)
}

/// The ports of a set such as `ExposedPorts`.
pub fn exposed(names: &NameSet) -> Result<BTreeSet<Port>> {
    let mut ports = BTreeSet::new();
    for name in names.iter() {
        ports.extend(parse(name)?);
    }
    Ok(ports)
}

/// What to reserve on the host: each binding, and with `all` a random port for each exposed port without one.
///
/// A binding without an address means all addresses, of both families if `ipv6`.
pub fn requests(bindings: &PortMap, exposed_names: &NameSet, all: bool, ipv6: bool) -> Result<Vec<Request>> {
    let mut requests = Vec::new();
    let mut bound = BTreeSet::new();
    for (key, list) in bindings {
        for port in parse(key)? {
            let list = list.as_deref().unwrap_or_default();
            for binding in list {
                let invalid =
                    || Error::invalid(format!("invalid port specification: {:?}", binding.host_port));
                let host_ports = match binding.host_port.as_str() {
                    "" => 0..=0,
                    text => range(text).ok_or_else(invalid)?,
                };
                for host_ip in host_addresses(&binding.host_ip, ipv6)? {
                    requests.push(request(port, host_ip, host_ports.clone()));
                }
            }
            if list.is_empty() {
                requests.extend(host_addresses("", ipv6)?.into_iter().map(|ip| request(port, ip, 0..=0)));
            }
            bound.insert(port);
        }
    }
    if all {
        for port in exposed(exposed_names)?.difference(&bound) {
            requests.extend(host_addresses("", ipv6)?.into_iter().map(|ip| request(*port, ip, 0..=0)));
        }
    }
    Ok(requests)
}

fn request(port: Port, host_ip: IpAddr, host_ports: RangeInclusive<u16>) -> Request {
    Request { protocol: port.protocol, container_port: port.number, host_ip, host_ports }
}

fn host_addresses(text: &str, ipv6: bool) -> Result<Vec<IpAddr>> {
    if text.is_empty() {
        let mut all = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        if ipv6 {
            all.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        }
        return Ok(all);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().map(|ip| vec![ip]).map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::containers::PortBinding;

    fn bind(key: &str, host_ip: &str, host_port: &str) -> PortMap {
        PortMap::from([(
            key.to_owned(),
            Some(vec![PortBinding { host_ip: host_ip.into(), host_port: host_port.into() }]),
        )])
    }

    fn texts(bindings: &PortMap, exposed: &[&str], all: bool) -> Vec<String> {
        requests(bindings, &exposed.iter().copied().collect(), all, false)
            .unwrap()
            .iter()
            .map(|r| {
                let (a, b) = (r.host_ports.start(), r.host_ports.end());
                format!("{}:{a}-{b}->{}/{}", r.host_ip, r.container_port, r.protocol)
            })
            .collect()
    }

    #[test]
    fn bindings_of_the_tutorials() {
        assert_eq!(texts(&bind("80/tcp", "", "8080"), &[], false), ["0.0.0.0:8080-8080->80/tcp"]);
        assert_eq!(texts(&bind("80/tcp", "127.0.0.1", "8080"), &[], false), ["127.0.0.1:8080-8080->80/tcp"]);
        assert_eq!(texts(&bind("53/udp", "", "5353"), &[], false), ["0.0.0.0:5353-5353->53/udp"]);
        assert_eq!(texts(&bind("80", "", ""), &[], false), ["0.0.0.0:0-0->80/tcp"]);
        assert_eq!(texts(&bind("80/tcp", "", "8000-8009"), &[], false), ["0.0.0.0:8000-8009->80/tcp"]);
        assert_eq!(
            texts(&bind("80/tcp", "", "8080"), &["80/tcp", "443/tcp"], true),
            ["0.0.0.0:8080-8080->80/tcp", "0.0.0.0:0-0->443/tcp"]
        );
    }

    #[test]
    fn bad_ports_are_errors() {
        for bad in ["", "0", "65536", "80/icmp", "a", "90-80", "80-", "-80", "+80"] {
            assert_eq!(parse(bad).unwrap_err().message, format!("invalid port specification: {bad:?}"));
        }
        assert!(requests(&bind("80", "", "99999"), &NameSet::default(), false, false).is_err());
        assert!(requests(&bind("80", "x", "80"), &NameSet::default(), false, false).is_err());
    }
}
