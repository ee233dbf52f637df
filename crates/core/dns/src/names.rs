//! Looking names and addresses up in a container's networks. Pure.

use std::net::IpAddr;

use crate::endpoints::{Endpoint, Network};

/// The addresses that a name has; `None` if no network knows it. The name is in lower case, without a dot at its end.
///
/// `networks` are in order: the first that knows the name with an address of the family is the one that is meant. The
/// name may be followed by a network's, which is looked at when no endpoint has the longer name. Both may have dots.
pub fn addresses(networks: &[Network], name: &str, wanted: impl Fn(&IpAddr) -> bool) -> Option<Vec<IpAddr>> {
    let mut known = false;
    for (name, qualifier) in readings(name) {
        for network in networks {
            if qualifier.is_some_and(|qualifier| !network.name.eq_ignore_ascii_case(qualifier)) {
                continue;
            }
            let called = network.endpoints.iter().filter(|endpoint| is_called(endpoint, name));
            let mut found = Vec::new();
            for endpoint in called {
                known = true;
                found.extend(endpoint.addresses.iter().copied().filter(&wanted));
            }
            if !found.is_empty() {
                return Some(found);
            }
        }
    }
    known.then(Vec::new)
}

/// A name as a whole, then cut at each of its dots into a name and a network's name.
fn readings(name: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let dots = name.match_indices('.').rev();
    let cut = dots.map(|(at, _)| (&name[..at], Some(&name[at + 1..])));
    std::iter::once((name, None)).chain(cut)
}

fn is_called(endpoint: &Endpoint, name: &str) -> bool {
    endpoint.names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// The name of an address, qualified with its network's.
pub fn name(networks: &[Network], address: IpAddr) -> Option<String> {
    networks.iter().find_map(|network| {
        let endpoint = network.endpoints.iter().find(|endpoint| endpoint.addresses.contains(&address))?;
        Some(format!("{}.{}", endpoint.names.first()?, network.name))
    })
}

/// Whether there is a way out of any of the networks. A container without networks has none: what it asks must not
/// leave the machine on its behalf.
pub fn is_outward(networks: &[Network]) -> bool {
    networks.iter().any(|network| !network.internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::VERSION;

    fn network(name: &str, endpoints: &[(&str, &str)]) -> Network {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let endpoint = |(names, addresses): &(&str, &str)| Endpoint {
            container: "c".into(),
            names: words(names),
            addresses: words(addresses).iter().map(|address| address.parse().unwrap()).collect(),
        };
        let endpoints = endpoints.iter().map(endpoint).collect();
        Network { version: VERSION, name: name.into(), internal: false, endpoints }
    }

    fn networks() -> Vec<Network> {
        vec![
            network("back.office", &[("db", "10.2.0.2"), ("v6 db.two", "fd00::9")]),
            network(
                "front",
                &[("Web www", "10.1.0.2 fd00::2"), ("two www", "10.1.0.3"), ("db", "10.1.0.4 fd00::4")],
            ),
        ]
    }

    fn ask(name: &str, v6: bool) -> String {
        match addresses(&networks(), name, |address| address.is_ipv6() == v6) {
            None => "unknown".into(),
            Some(found) => found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn names_have_addresses() {
        let table = [
            ("web", "10.1.0.2", "fd00::2"),
            ("www", "10.1.0.2 10.1.0.3", "fd00::2"),
            ("two", "10.1.0.3", ""),
            // The first network's, but it has no address of the other family.
            ("db", "10.2.0.2", "fd00::4"),
            ("db.front", "10.1.0.4", "fd00::4"),
            ("db.FRONT", "10.1.0.4", "fd00::4"),
            ("db.back.office", "10.2.0.2", ""),
            ("db.two", "", "fd00::9"),
            ("db.two.back.office", "", "fd00::9"),
            ("v6", "", "fd00::9"),
            ("web.back.office", "unknown", "unknown"),
            ("web.", "unknown", "unknown"),
            ("", "unknown", "unknown"),
            (".", "unknown", "unknown"),
            (".front", "unknown", "unknown"),
            ("front", "unknown", "unknown"),
        ];
        for (name, v4, v6) in table {
            assert_eq!((ask(name, false).as_str(), ask(name, true).as_str()), (v4, v6), "{name}");
        }
    }

    #[test]
    fn addresses_have_names() {
        let ask = |address: &str| name(&networks(), address.parse().unwrap());
        assert_eq!(ask("10.1.0.2").as_deref(), Some("Web.front"));
        assert_eq!(ask("fd00::9").as_deref(), Some("v6.back.office"));
        assert_eq!(ask("10.1.0.9"), None);
    }

    #[test]
    fn only_internal_networks_have_no_way_out() {
        let mut networks = networks();
        networks[0].internal = true;
        assert!(is_outward(&networks));
        networks[1].internal = true;
        assert!(!is_outward(&networks));
        assert!(!is_outward(&[]));
    }
}
