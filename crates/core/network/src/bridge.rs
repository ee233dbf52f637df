//! A network's bridge on this machine.

use crate::error::Error;
use crate::firewall;
use crate::forwarding;
use crate::link::{self, Link};
use crate::model::{Bridge, Mac, Network, Subnet};
use crate::survey::host_routes;
use crate::{ipam, sysctl};
use ipnet::IpNet;
use rustix::io::Errno;
use std::net::IpAddr;
use std::path::Path;
use sys::netlink::{Message, Protocol, Socket};

/// Prefix of the alias of every link of ours; the id follows, and behind a space the root whose network a bridge is.
pub(crate) const ALIAS: &str = "dhow:";
/// Bytes that an alias may have (`IFALIASZ`).
const ALIAS_MAX: usize = 255;

/// The name of a user-defined network's bridge interface.
pub fn bridge_name(network_id: &str) -> String {
    format!("dhow-{}", prefix(network_id, 10))
}

/// The name of the host's end of an endpoint's pair. Interface names have at most 15 bytes; programs that
/// manage interfaces know to leave those alone that start with `veth`.
pub fn port_name(endpoint_id: &str) -> String {
    format!("veth{}", prefix(endpoint_id, 10))
}

fn prefix(id: &str, length: usize) -> &str {
    id.get(..length).unwrap_or(id)
}

/// Makes sure that the network works on this machine: its bridge with its addresses, packet forwarding, and
/// the network's part of the firewall. Cheap when all is in place.
///
/// A bridge that somebody else made keeps its addresses and settings; it is used, and never removed. One of ours says whose it is:
/// that of the engine with this `root`.
pub fn ensure_network(network: &Network, root: &Path) -> Result<(), Error> {
    ensure_bridge(&mut route_socket()?, network, root)?;
    // The firewall first: between the two the machine must not route what it did not route before.
    let off = forwarding::switched_off(&network.bridge);
    firewall::ensure(network, off)?;
    forwarding::switch_on(off)
}

/// Whether a network may have its subnets, which nobody else on this machine has then: no route leads into them, and no other network
/// has claimed them. One that is up already may.
pub fn claim(network: &Network) -> Result<bool, Error> {
    if find(&mut route_socket()?, &network.bridge.ifname)?.is_some() {
        return Ok(true);
    }
    let routes = host_routes()?;
    let is_routed = |subnet: &Subnet| routes.iter().any(|net| ipam::overlaps(net, &subnet.net));
    Ok(!network.bridge.subnets.iter().any(is_routed) && firewall::claim(network)?)
}

fn ensure_bridge(socket: &mut Socket, network: &Network, root: &Path) -> Result<(), Error> {
    let bridge = &network.bridge;
    let alias = alias(network, root);
    let existing = match find(socket, &bridge.ifname)? {
        Some(link) => link,
        None => create(socket, bridge, &alias)?,
    };
    if existing.kind != "bridge" {
        return Err(Error::NotABridge(bridge.ifname.clone()));
    }
    let ours = is_ours(&existing);
    let wanted: Vec<IpNet> = bridge.subnets.iter().filter_map(gateway_net).collect();
    let present = addresses(socket, existing.index)?;
    let stale = present.iter().filter(|net| ours && !wanted.contains(net));
    let missing = wanted.iter().filter(|net| !present.contains(net));
    let mut batch: Vec<Message> = stale.map(|net| link::address_removal(existing.index, *net)).collect();
    batch.extend(missing.map(|net| link::address(existing.index, *net)));
    let inherited = ours && existing.alias.as_ref() != Some(&alias);
    if inherited || !existing.is_up || !batch.is_empty() {
        let ipv6 = wanted.iter().any(|net| net.addr().is_ipv6());
        if ours {
            close_to_advertisements(&bridge.ifname, ipv6)?;
            batch.insert(0, link::bridge_of_ours(&bridge.ifname, &alias, ipv6));
        }
        batch.insert(0, link::bridge_in_use(&bridge.ifname));
    }
    if batch.is_empty() {
        return Ok(());
    }
    let error = |source| Error::Link { attempt: "set up bridge", ifname: bridge.ifname.clone(), source };
    socket.execute(batch).map_err(error)
}

fn alias(network: &Network, root: &Path) -> String {
    let short = format!("{ALIAS}{}", network.id);
    match root.to_str().map(|root| format!("{short} {root}")) {
        Some(whole) if whole.len() <= ALIAS_MAX && !whole.contains('\n') => whole,
        _ => short,
    }
}

/// The id in an alias of ours, and the root, where it says that.
pub(crate) fn owner(link: &Link) -> Option<(&str, Option<&Path>)> {
    let owner = link.alias.as_deref()?.strip_prefix(ALIAS)?;
    Some(owner.split_once(' ').map_or((owner, None), |(id, root)| (id, Some(Path::new(root)))))
}

fn is_ours(link: &Link) -> bool {
    link.alias.as_deref().is_some_and(|alias| alias.starts_with(ALIAS))
}

/// A container must not tell this machine where its routers are (CVE-2020-13401 in the other direction).
fn close_to_advertisements(ifname: &str, ipv6: bool) -> Result<(), Error> {
    let settings = sysctl::of_interface6(ifname);
    sysctl::set(settings.join("accept_ra"), "0")?;
    sysctl::set(settings.join("disable_ipv6"), if ipv6 { "0" } else { "1" })
}

/// The mark is set at once: a bridge without it is taken for somebody else's.
fn create(socket: &mut Socket, bridge: &Bridge, alias: &str) -> Result<Link, Error> {
    let ifname = &bridge.ifname;
    let gateway = bridge.subnets.first().map_or(IpAddr::from([0, 0, 0, 1]), |subnet| subnet.gateway);
    let batch = vec![
        link::bridge(ifname, Mac::of_ip(gateway), bridge.mtu),
        link::bridge_of_ours(ifname, alias, true),
    ];
    match socket.execute(batch) {
        Ok(()) => {}
        // Another engine was faster.
        Err(error) if error.refusal() == Some(Errno::EXIST) => {}
        Err(source) => {
            return Err(Error::Link { attempt: "create bridge", ifname: ifname.clone(), source });
        }
    }
    find(socket, ifname)?.ok_or_else(|| Error::NoBridge(ifname.clone()))
}

fn gateway_net(subnet: &Subnet) -> Option<IpNet> {
    IpNet::new(subnet.gateway, subnet.net.prefix_len()).ok()
}

/// The addresses of an interface, but for IPv6's link-local one, which is the kernel's.
fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<IpNet>, Error> {
    let link_local = |net: &IpNet| match net {
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    };
    let listed = socket.dump(&link::all_addresses()).map_err(|source| Error::List("addresses", source))?;
    let ours = listed.iter().filter_map(link::parse_address).filter(|address| address.index == index);
    Ok(ours.map(|address| address.net).filter(|net| !link_local(net)).collect())
}

/// Takes the network off this machine. Endpoints that are still attached lose their link.
pub fn remove_network(network: &Network) -> Result<(), Error> {
    let outcome = firewall::remove(&network.id);
    let mut socket = route_socket()?;
    if find(&mut socket, &network.bridge.ifname)?.is_some_and(|link| is_ours(&link)) {
        delete_link(&mut socket, "remove bridge", &network.bridge.ifname)?;
    }
    outcome
}

pub(crate) fn route_socket() -> Result<Socket, Error> {
    Socket::open(Protocol::Route).map_err(Error::Socket)
}

/// The link with this name.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    match socket.get(link::query(name)) {
        Ok(received) => Ok(link::parse_link(&received)),
        Err(error) if error.refusal() == Some(Errno::NODEV) => Ok(None),
        Err(source) => Err(Error::Link { attempt: "look up", ifname: name.to_owned(), source }),
    }
}

/// Deletes a link that may be gone already.
pub(crate) fn delete_link(socket: &mut Socket, attempt: &'static str, name: &str) -> Result<(), Error> {
    match socket.execute(vec![link::deletion(name)]) {
        Err(source) if source.refusal() != Some(Errno::NODEV) => {
            Err(Error::Link { attempt, ifname: name.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_an_interface_name() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(bridge_name(&id), "dhow-0123456789");
        assert_eq!(port_name(&id), "veth0123456789");
        assert!(bridge_name(&id).len() <= 15);
    }
}
