//! What the firewall holds, read back from the kernel.

use super::nft::{self, Element, Family};
use super::ruleset::{self, Entry};
use crate::error::Error;
use crate::link::address_of;
use crate::model::{PortMap, Protocol};
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};
use sys::netlink::{self, Message, Received, Socket};

/// A published port that the firewall knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    pub map: PortMap,
    /// The container's address and port.
    pub target: SocketAddr,
    pub endpoint_id: String,
}

/// All published ports.
pub fn published_ports() -> Result<Vec<PublishedPort>, Error> {
    super::if_any(list_ports())
}

fn list_ports() -> Result<Vec<PublishedPort>, Error> {
    let mut socket = super::open()?;
    let mut ports = Vec::new();
    for family in Family::ALL {
        let entries = entries(&mut socket, family, &ruleset::PORT_MAPS)?;
        ports.extend(entries.iter().filter_map(published_port));
    }
    ports.sort();
    Ok(ports)
}

/// (interface name, id of the network) of every network that the firewall knows.
pub(crate) fn network_bridges() -> Result<Vec<(String, String)>, Error> {
    super::if_any(list_bridges())
}

fn list_bridges() -> Result<Vec<(String, String)>, Error> {
    let mut socket = super::open()?;
    let mut bridges = Vec::new();
    for family in Family::ALL {
        let entries = entries(&mut socket, family, &ruleset::NETWORK_SETS)?;
        bridges.extend(entries.into_iter().map(|entry| (ruleset::interface_of(&entry), entry.2.owner)));
    }
    bridges.sort();
    bridges.dedup();
    Ok(bridges)
}

fn published_port((family, map, element): &Entry) -> Option<PublishedPort> {
    let width = family.width();
    let (host_ip, rest) = match *map {
        ruleset::ANYWHERE if *family == Family::V4 => (IpAddr::from([0; 4]), &element.key[..]),
        ruleset::ANYWHERE => (IpAddr::from([0; 16]), &element.key[..]),
        _ => (address_of(element.key.get(..width)?)?, element.key.get(width..)?),
    };
    let port = |bytes: &[u8]| Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    let target = address_of(element.data.get(..width)?)?;
    let container_port = port(element.data.get(width..)?)?;
    let map = PortMap {
        protocol: Protocol::from_number(*rest.first()?)?,
        container_port,
        host_ip,
        host_port: port(rest.get(4..)?)?,
    };
    let target = SocketAddr::new(target, container_port);
    Some(PublishedPort { map, target, endpoint_id: element.owner.clone() })
}

/// The generation of the rule set.
pub(crate) fn generation(socket: &mut Socket) -> Result<u32, Error> {
    const ID: u16 = 1;
    let received = socket.get(nft::generation()).map_err(|error| match error.refusal() {
        Some(Errno::PERM | Errno::ACCESS) => Error::List("the firewall's generation", error),
        _ => Error::NoFirewall(error),
    })?;
    let value = received.attributes(nft::HEADER).find_kind(ID).and_then(|value| value.try_into().ok());
    Ok(value.map(u32::from_be_bytes).unwrap_or_default())
}

/// The version of the rules that are there; empty for rules that are not ours.
pub(crate) fn version(socket: &mut Socket, family: Family) -> Result<Option<String>, Error> {
    let rules = dump(socket, "rules", &nft::rules(family, ruleset::FORWARD_CHAIN))?;
    let Some(first) = rules.first() else { return Ok(None) };
    let comment = first.attributes(nft::HEADER).find_kind(nft::RULE_USERDATA).and_then(nft::comment);
    Ok(Some(comment.unwrap_or_default()))
}

/// The elements of some sets or maps; none when they do not exist.
pub(crate) fn entries(
    socket: &mut Socket,
    family: Family,
    sets: &[&'static str],
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for set in sets {
        let found = dump(socket, "elements", &nft::elements(family, set))?;
        entries.extend(found.iter().flat_map(elements).map(|element| (family, *set, element)));
    }
    Ok(entries)
}

fn dump(socket: &mut Socket, what: &'static str, request: &Message) -> Result<Vec<Received>, Error> {
    match socket.dump(request) {
        Err(error) if error.refusal() == Some(Errno::NOENT) => Ok(vec![]),
        outcome => outcome.map_err(|source| Error::List(what, source)),
    }
}

fn elements(received: &Received) -> Vec<Element> {
    let list = received.attributes(nft::HEADER).find_kind(nft::LIST_ELEMENTS).unwrap_or_default();
    netlink::attributes(list).filter_map(|(_, item)| element(item)).collect()
}

fn element(item: &[u8]) -> Option<Element> {
    let attributes = netlink::attributes(item);
    let value =
        |kind| netlink::attributes(attributes.find_kind(kind)?).find_kind(nft::VALUE).map(<[u8]>::to_vec);
    let owner = attributes.find_kind(nft::ELEMENT_USERDATA).and_then(nft::comment);
    Some(Element {
        key: value(nft::ELEMENT_KEY)?,
        end: value(nft::ELEMENT_END).unwrap_or_default(),
        data: value(nft::ELEMENT_DATA).unwrap_or_default(),
        owner: owner.unwrap_or_default(),
    })
}
