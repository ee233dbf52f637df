//! Address management as pure functions: which subnet a network gets, which address an endpoint gets.

use crate::model::Subnet;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no available addresses on this network's address pools: {0}")]
    Exhausted(IpNet),
    #[error("Address already in use")]
    Taken(IpAddr),
    #[error("invalid address {address}: it does not belong to subnet {subnet}")]
    Outside { address: IpAddr, subnet: IpNet },
    #[error("invalid address {0}: it is the subnet's network, broadcast or gateway address")]
    Reserved(IpAddr),
    #[error("all predefined address pools have been fully subnetted")]
    PoolsExhausted,
}

/// The address for a new endpoint: `requested`, or the lowest that is not in `used`.
pub fn allocate(
    subnet: &Subnet,
    used: &BTreeSet<IpAddr>,
    requested: Option<IpAddr>,
) -> Result<IpAddr, Error> {
    if let Some(address) = requested {
        return check(subnet, used, address).map(|()| address);
    }
    let range = subnet.range.unwrap_or(subnet.net);
    let free = |address: &IpAddr| check(subnet, used, *address).is_ok();
    let found = match range {
        IpNet::V4(range) => {
            let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
            (first..=last).map(|number| IpAddr::V4(Ipv4Addr::from(number))).find(free)
        }
        IpNet::V6(range) => {
            let (first, last) = (u128::from(range.network()), u128::from(range.broadcast()));
            (first..=last).map(|number| IpAddr::V6(Ipv6Addr::from(number))).find(free)
        }
    };
    found.ok_or(Error::Exhausted(range))
}

fn check(subnet: &Subnet, used: &BTreeSet<IpAddr>, address: IpAddr) -> Result<(), Error> {
    if !subnet.net.contains(&address) {
        return Err(Error::Outside { address, subnet: subnet.net });
    }
    if address == subnet.gateway || is_edge(&subnet.net, address) {
        return Err(Error::Reserved(address));
    }
    if used.contains(&address) || subnet.auxiliary.values().any(|other| *other == address) {
        return Err(Error::Taken(address));
    }
    Ok(())
}

/// The subnet's own address and its broadcast address. Point-to-point subnets (RFC 3021) have neither, and
/// IPv6 has no broadcast.
fn is_edge(net: &IpNet, address: IpAddr) -> bool {
    match net {
        IpNet::V4(net) if net.prefix_len() >= 31 => false,
        IpNet::V4(_) => address == net.network() || address == net.broadcast(),
        IpNet::V6(net) if net.prefix_len() >= 127 => false,
        IpNet::V6(_) => address == net.network(),
    }
}

/// The gateway of a subnet when the user names none: its first usable address.
pub fn default_gateway(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) if net.prefix_len() >= 31 => IpAddr::V4(net.network()),
        IpNet::V4(net) => IpAddr::V4(Ipv4Addr::from(u32::from(net.network()) + 1)),
        IpNet::V6(net) if net.prefix_len() >= 127 => IpAddr::V6(net.network()),
        IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from(u128::from(net.network()) + 1)),
    }
}

/// The subnets that networks get when the user names none, in Docker's order: 172.17.0.0/16 to
/// 172.31.0.0/16, then 192.168.0.0/20 to 192.168.240.0/20.
pub fn default_pools() -> impl Iterator<Item = Ipv4Net> {
    let large = (17..=31).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|block| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, block * 16, 0), 20));
    large.chain(small)
}

/// The first default pool that overlaps nothing in `taken`: the other networks' subnets, the machine's
/// routes and its name servers.
pub fn pick_subnet(taken: &[IpNet]) -> Result<IpNet, Error> {
    default_pools()
        .map(IpNet::V4)
        .find(|pool| !taken.iter().any(|net| overlaps(net, pool)))
        .ok_or(Error::PoolsExhausted)
}

/// Whether two subnets share an address.
pub fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The IPv6 subnet of a network when the user names none: a unique local /64 (RFC 4193) whose global id is
/// taken from the network's id, which is random.
pub fn local_subnet6(network_id: &str) -> IpNet {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    for (octet, pair) in octets[1..8].iter_mut().zip(network_id.as_bytes().chunks_exact(2)) {
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
        *octet = digit(pair[0]) << 4 | digit(pair[1]);
    }
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(octets), 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(net: &str) -> Subnet {
        let net: IpNet = net.parse().unwrap();
        Subnet::whole(net)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_handed_out_in_order() {
        let subnet = subnet("172.17.0.0/16");
        assert_eq!(subnet.gateway, ip("172.17.0.1"));
        let mut used = BTreeSet::new();
        assert_eq!(allocate(&subnet, &used, None), Ok(ip("172.17.0.2")));
        used.insert(ip("172.17.0.2"));
        used.insert(ip("172.17.0.4"));
        assert_eq!(allocate(&subnet, &used, None), Ok(ip("172.17.0.3")));
    }

    #[test]
    fn requested_addresses_are_checked() {
        let subnet = subnet("10.0.0.0/29");
        let used = BTreeSet::from([ip("10.0.0.3")]);
        assert_eq!(allocate(&subnet, &used, Some(ip("10.0.0.5"))), Ok(ip("10.0.0.5")));
        assert_eq!(allocate(&subnet, &used, Some(ip("10.0.0.3"))), Err(Error::Taken(ip("10.0.0.3"))));
        assert_eq!(allocate(&subnet, &used, Some(ip("10.0.0.1"))), Err(Error::Reserved(ip("10.0.0.1"))));
        assert_eq!(allocate(&subnet, &used, Some(ip("10.0.0.7"))), Err(Error::Reserved(ip("10.0.0.7"))));
        assert!(matches!(allocate(&subnet, &used, Some(ip("10.0.0.8"))), Err(Error::Outside { .. })));
    }

    #[test]
    fn a_full_subnet_is_exhausted() {
        let subnet = subnet("10.0.0.0/30");
        let used = BTreeSet::from([ip("10.0.0.2")]);
        assert_eq!(allocate(&subnet, &used, None), Err(Error::Exhausted(subnet.net)));
    }

    #[test]
    fn the_range_limits_what_is_handed_out() {
        let range = Some("10.0.0.128/25".parse().unwrap());
        let subnet = Subnet { range, ..subnet("10.0.0.0/24") };
        assert_eq!(allocate(&subnet, &BTreeSet::new(), None), Ok(ip("10.0.0.128")));
        assert_eq!(allocate(&subnet, &BTreeSet::new(), Some(ip("10.0.0.9"))), Ok(ip("10.0.0.9")));
    }

    #[test]
    fn ipv6_skips_only_the_subnet_itself() {
        let subnet = subnet("fd00::/126");
        assert_eq!(allocate(&subnet, &BTreeSet::new(), None), Ok(ip("fd00::2")));
        let used = BTreeSet::from([ip("fd00::2")]);
        assert_eq!(allocate(&subnet, &used, None), Ok(ip("fd00::3")));
    }

    #[test]
    fn pools_avoid_what_is_taken() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert_eq!(pick_subnet(&[]), Ok(net("172.17.0.0/16")));
        assert_eq!(pick_subnet(&[net("172.16.0.0/14")]), Ok(net("172.20.0.0/16")));
        assert_eq!(pick_subnet(&[net("172.17.0.53/32")]), Ok(net("172.18.0.0/16")));
        assert_eq!(pick_subnet(&[net("172.16.0.0/12")]), Ok(net("192.168.0.0/20")));
        assert_eq!(pick_subnet(&[net("0.0.0.0/0")]), Err(Error::PoolsExhausted));
        assert_eq!(pick_subnet(&[net("fd00::/8")]), Ok(net("172.17.0.0/16")));
    }

    #[test]
    fn local_subnet_comes_from_the_id() {
        let id = "0123456789abcdef";
        assert_eq!(local_subnet6(id).to_string(), "fd01:2345:6789:abcd::/64");
    }
}
