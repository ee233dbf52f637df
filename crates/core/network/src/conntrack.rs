//! Connection tracking entries of connectionless traffic (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! The kernel decides where a flow goes at its first packet. A peer that keeps sending UDP to a port keeps
//! its old flow alive: past a container that has just published the port, or to one that is gone. So the
//! flows of an endpoint's UDP ports are deleted when the ports are published and when they are withdrawn.

use crate::bridge::route_socket;
use crate::error::Error;
use crate::firewall;
use crate::link;
use crate::model::{Endpoint, PortMap, Protocol};
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};
use sys::netlink::{self, Message, Received, Socket};

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;

/// Size of the fixed header `nfgenmsg`.
const HEADER: usize = 4;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;

/// Lets the kernel forget the flows of the endpoint's UDP ports. A kernel that cannot list its flows keeps
/// them; they time out in minutes.
pub(crate) fn forget(endpoint: &Endpoint) -> Result<(), Error> {
    let ports: Vec<&PortMap> = endpoint.ports.iter().filter(|map| map.protocol == Protocol::Udp).collect();
    if ports.is_empty() {
        return Ok(());
    }
    let local = local_addresses()?;
    let mut socket = match firewall::open() {
        Err(Error::NoFirewall(_)) => return Ok(()),
        opened => opened?,
    };
    let outcome = forget_flows(&mut socket, |flow| flow.concerns(endpoint, &ports, &local));
    firewall::close_later(socket);
    outcome
}

fn forget_flows(socket: &mut Socket, doomed: impl Fn(&Flow) -> bool) -> Result<(), Error> {
    for family in [2, 10] {
        let flows = match socket.dump(&Message::new(GET, 0, &[family, 0, 0, 0])) {
            Ok(flows) => flows,
            Err(netlink::Error::Refused { .. }) => return Ok(()),
            Err(source) => return Err(Error::List("connections", source)),
        };
        let doomed = |flow: &&Received| Flow::of(flow).is_some_and(|flow| doomed(&flow));
        for flow in flows.iter().filter(doomed) {
            match socket.execute(vec![deletion(family, flow)]) {
                Err(error) if error.refusal() == Some(Errno::NOENT) => {}
                outcome => outcome.map_err(|source| Error::Firewall { attempt: "forget flow", source })?,
            }
        }
    }
    Ok(())
}

fn local_addresses() -> Result<Vec<IpAddr>, Error> {
    let listed = route_socket()?.dump(&link::all_addresses());
    let listed = listed.map_err(|source| Error::List("addresses", source))?;
    Ok(listed.iter().filter_map(link::parse_address).map(|address| address.net.addr()).collect())
}

/// Names the flow as the kernel named it to us.
fn deletion(family: u8, flow: &Received) -> Message {
    const NESTED: u16 = 0x8000;
    let copied = flow.attributes(HEADER).filter(|(kind, _)| [ORIGINAL, ID, ZONE].contains(kind));
    copied.fold(Message::new(DELETE, 0, &[family, 0, 0, 0]), |message, (kind, value)| {
        message.bytes(if kind == ORIGINAL { kind | NESTED } else { kind }, value)
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Flow {
    protocol: u8,
    /// Where the first packet was sent to.
    destination: SocketAddr,
    /// Where answers come from: the container's address when the destination was changed.
    responder: SocketAddr,
}

impl Flow {
    fn of(received: &Received) -> Option<Flow> {
        let attributes = received.attributes(HEADER);
        let (protocol, _, destination) = tuple(attributes.find_kind(ORIGINAL)?)?;
        let (_, responder, _) = tuple(attributes.find_kind(REPLY)?)?;
        Some(Flow { protocol, destination, responder })
    }

    fn concerns(&self, endpoint: &Endpoint, ports: &[&PortMap], local: &[IpAddr]) -> bool {
        let to_host_port = |map: &PortMap| {
            let to = self.destination.ip();
            to == map.host_ip || (map.host_ip.is_unspecified() && (local.contains(&to) || to.is_loopback()))
        };
        let from_container = endpoint.addresses.iter().any(|net| net.addr() == self.responder.ip());
        self.protocol == Protocol::Udp.number()
            && ports.iter().any(|map| {
                (map.host_port == self.destination.port() && to_host_port(map))
                    || (map.container_port == self.responder.port() && from_container)
            })
    }
}

/// Protocol, source and destination.
fn tuple(value: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let parts = netlink::attributes(value);
    let ip = netlink::attributes(parts.find_kind(1)?);
    let transport = netlink::attributes(parts.find_kind(2)?);
    let address = |v4: u16, v6: u16| link::address_of(ip.find_kind(v4).or_else(|| ip.find_kind(v6))?);
    let port = |kind: u16| Some(u16::from_be_bytes(transport.find_kind(kind)?.try_into().ok()?));
    let protocol = *transport.find_kind(1)?.first()?;
    let source = SocketAddr::new(address(1, 3)?, port(2)?);
    let destination = SocketAddr::new(address(2, 4)?, port(3)?);
    Some((protocol, source, destination))
}
