//! rtnetlink requests and answers (man 7 rtnetlink): links, addresses, routes. Functions with noun names make
//! requests out of values; the rest reads what the kernel lists. Numbers are those of `linux/rtnetlink.h`
//! and `linux/if_link.h`.

use crate::model::Mac;
use ipnet::IpNet;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use sys::netlink::{self, CREATE, EXCLUSIVE, Message, REPLACE, Received};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

/// Sizes of the fixed headers `ifinfomsg`, `ifaddrmsg`, `rtmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UP: u32 = 1;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// A link as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    /// e.g. `bridge`, `veth`; empty for hardware.
    pub kind: String,
    /// Free text; ours says which id the link belongs to.
    pub alias: Option<String>,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Whether the administrator wants it to work.
    pub is_up: bool,
    /// Bytes a packet may have.
    pub mtu: u32,
}

/// An address of an interface as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub index: u32,
    pub net: IpNet,
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// A bridge with a fixed link-layer address: left to itself it takes the lowest of its ports' addresses,
/// which change as containers come and go.
pub(crate) fn bridge(name: &str, mac: Mac, mtu: u32) -> Message {
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .u32(IFLA_MTU, mtu)
        .bytes(IFLA_ADDRESS, &mac.0)
        .nest(IFLA_LINKINFO, |info| info.text(INFO_KIND, "bridge"))
}

/// What a veth pair is made of.
pub(crate) struct Pair<'a> {
    pub host_name: &'a str,
    pub bridge: u32,
    pub mtu: u32,
    pub namespace: BorrowedFd<'a>,
    pub name: &'a str,
    pub mac: Mac,
}

/// A veth pair: our end is a port of the bridge and up, the other end is born in `namespace`.
pub(crate) fn pair(pair: &Pair<'_>) -> Message {
    let namespace = pair.namespace.as_raw_fd() as u32;
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, UP, UP))
        .text(IFLA_IFNAME, pair.host_name)
        .u32(IFLA_MTU, pair.mtu)
        .u32(IFLA_MASTER, pair.bridge)
        .nest(IFLA_LINKINFO, |info| {
            info.text(INFO_KIND, "veth").nest(INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_header(0, 0, 0))
                        .text(IFLA_IFNAME, pair.name)
                        .u32(IFLA_MTU, pair.mtu)
                        .bytes(IFLA_ADDRESS, &pair.mac.0)
                        .u32(IFLA_NET_NS_FD, namespace)
                })
            })
        })
}

/// Settings of our end of a pair that cannot be given at its birth: no address of its own (nobody speaks to
/// it, and duplicate address detection is noise), and the alias that says whose it is.
pub(crate) fn port_settings(name: &str, alias: &str) -> Message {
    Message::new(SET_LINK, 0, &link_header(0, 0, 0))
        .text(IFLA_IFNAME, name)
        .text(IFLA_IFALIAS, alias)
        .nest(IFLA_AF_SPEC, no_own_address6)
}

/// How the bridge treats one of its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortFlags {
    /// The port reaches no other port with the same mark; the bridge itself stays reachable.
    pub isolated: bool,
    /// Frames may leave through the port that they came from.
    pub hairpin: bool,
}

/// Sets the flags of a port, both on and off.
pub(crate) fn port_flags(name: &str, flags: PortFlags) -> Message {
    const HAIRPIN: u16 = 4;
    const ISOLATED: u16 = 33;
    Message::new(NEW_LINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name).nest(IFLA_LINKINFO, |info| {
        info.text(INFO_SLAVE_KIND, "bridge").nest(INFO_SLAVE_DATA, |data| {
            data.bytes(HAIRPIN, &[u8::from(flags.hairpin)]).bytes(ISOLATED, &[u8::from(flags.isolated)])
        })
    })
}

/// Makes the bridge pass no more frames from and to a port and forget who is behind it. Unlike taking the link down or away it does not
/// wait for the kernel's readers, which takes ten milliseconds. Said to the bridge family, because a change
/// by way of the link family ends in an event upon which the bridge revises the state.
pub(crate) fn disabled_port(index: u32) -> Message {
    const AF_BRIDGE: u8 = 7;
    const PROTINFO: u16 = 12;
    const STATE: u16 = 1;
    const DISABLED: u8 = 0;
    const FLUSH: u16 = 24;
    let mut header = link_header(index, 0, 0);
    header[0] = AF_BRIDGE;
    Message::new(SET_LINK, 0, &header).nest(PROTINFO, |port| port.bytes(STATE, &[DISABLED]).bytes(FLUSH, &[]))
}

/// Brings a bridge up and sets `route_localnet`, which lets connections to 127.0.0.1 be led to containers;
/// the firewall keeps containers from using it the other way.
pub(crate) fn bridge_in_use(name: &str) -> Message {
    const INET_CONF: u16 = 1;
    const ROUTE_LOCALNET: u16 = 26;
    Message::new(SET_LINK, 0, &link_header(0, UP, UP)).text(IFLA_IFNAME, name).nest(IFLA_AF_SPEC, |spec| {
        spec.nest(u16::from(AF_INET), |inet| inet.nest(INET_CONF, |conf| conf.u32(ROUTE_LOCALNET, 1)))
    })
}

/// Marks a bridge as ours. One without IPv6 subnets gets no IPv6 address.
pub(crate) fn bridge_of_ours(name: &str, alias: &str, ipv6: bool) -> Message {
    let message =
        Message::new(SET_LINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name).text(IFLA_IFALIAS, alias);
    if ipv6 { message } else { message.nest(IFLA_AF_SPEC, no_own_address6) }
}

fn no_own_address6(spec: Message) -> Message {
    const ADDR_GEN_MODE: u16 = 8;
    const NONE: u8 = 1;
    spec.nest(u16::from(AF_INET6), |inet6| inet6.bytes(ADDR_GEN_MODE, &[NONE]))
}

/// Brings a link up.
pub(crate) fn up(index: u32) -> Message {
    Message::new(SET_LINK, 0, &link_header(index, UP, UP))
}

/// Removes a link; of a pair the other end goes too.
pub(crate) fn deletion(name: &str) -> Message {
    Message::new(DELETE_LINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name)
}

/// Asks for one link.
pub(crate) fn query(name: &str) -> Message {
    Message::new(GET_LINK, 0, &link_header(0, 0, 0)).text(IFLA_IFNAME, name).u32(IFLA_EXT_MASK, SKIP_STATS)
}

/// Asks for all links.
pub(crate) fn all_links() -> Message {
    Message::new(GET_LINK, 0, &link_header(0, 0, 0)).u32(IFLA_EXT_MASK, SKIP_STATS)
}

/// Leaves the counters out of the answer.
const SKIP_STATS: u32 = 8;

/// Gives an address to an interface, or updates it. IPv6 addresses are usable at once: nobody else has
/// them, so duplicate address detection would only delay the first packet.
pub(crate) fn address(index: u32, net: IpNet) -> Message {
    const NO_DETECTION: u32 = 2;
    let message = address_message(NEW_ADDRESS, CREATE | REPLACE, index, net);
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => message.bytes(IFA_BROADCAST, &net.broadcast().octets()),
        IpNet::V4(_) => message,
        IpNet::V6(_) => message.u32(IFA_FLAGS, NO_DETECTION),
    }
}

/// Takes an address away from an interface.
pub(crate) fn address_removal(index: u32, net: IpNet) -> Message {
    address_message(DELETE_ADDRESS, 0, index, net)
}

fn address_message(kind: u16, modifiers: u16, index: u32, net: IpNet) -> Message {
    let mut header = [0; ADDRESS_HEADER];
    header[0] = family(net.addr());
    header[1] = net.prefix_len();
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let bytes = octets(net.addr());
    Message::new(kind, modifiers, &header).bytes(IFA_LOCAL, &bytes).bytes(IFA_ADDRESS, &bytes)
}

/// Asks for all addresses.
pub(crate) fn all_addresses() -> Message {
    Message::new(GET_ADDRESS, 0, &[0; ADDRESS_HEADER])
}

/// The default route through a gateway.
pub(crate) fn default_route(index: u32, gateway: IpAddr) -> Message {
    const MAIN: u8 = 254;
    const BOOT: u8 = 3;
    const UNIVERSE: u8 = 0;
    const UNICAST: u8 = 1;
    let header = [family(gateway), 0, 0, 0, MAIN, BOOT, UNIVERSE, UNICAST, 0, 0, 0, 0];
    Message::new(NEW_ROUTE, CREATE | REPLACE, &header)
        .bytes(RTA_GATEWAY, &octets(gateway))
        .u32(RTA_OIF, index)
}

/// Asks for all routes.
pub(crate) fn all_routes() -> Message {
    Message::new(GET_ROUTE, 0, &[0; ROUTE_HEADER])
}

/// Reads a link.
pub(crate) fn parse_link(received: &Received) -> Option<Link> {
    let index = number(received.payload.get(4..8)?)?;
    let is_up = number(received.payload.get(8..12)?)? & UP != 0;
    let mut link =
        Link { index, name: String::new(), kind: String::new(), alias: None, master: None, is_up, mtu: 0 };
    for (kind, value) in received.attributes(LINK_HEADER) {
        match kind {
            IFLA_IFNAME => link.name = netlink::text(value),
            IFLA_MTU => link.mtu = number(value).unwrap_or_default(),
            IFLA_IFALIAS => link.alias = Some(netlink::text(value)),
            IFLA_MASTER => link.master = number(value),
            IFLA_LINKINFO => {
                let kind = netlink::attributes(value).find_kind(INFO_KIND);
                link.kind = kind.map(netlink::text).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// Reads an address.
pub(crate) fn parse_address(received: &Received) -> Option<Address> {
    let prefix = *received.payload.get(1)?;
    let index = number(received.payload.get(4..8)?)?;
    let attributes = received.attributes(ADDRESS_HEADER);
    // IFA_ADDRESS is the peer's address on point-to-point links; IFA_LOCAL is absent for IPv6.
    let value = attributes.find_kind(IFA_LOCAL).or_else(|| attributes.find_kind(IFA_ADDRESS))?;
    Some(Address { index, net: IpNet::new(address_of(value)?, prefix).ok()? })
}

/// Reads where a route leads to; `None` for the default routes and for those that are no unicast routes of
/// a table that packets to other machines use.
pub(crate) fn parse_route(received: &Received) -> Option<IpNet> {
    const UNICAST: u8 = 1;
    let prefix = *received.payload.get(1)?;
    if prefix == 0 || *received.payload.get(7)? != UNICAST {
        return None;
    }
    let value = received.attributes(ROUTE_HEADER).find_kind(RTA_DST)?;
    IpNet::new(address_of(value)?, prefix).ok()
}

/// Reads the interface of an IPv4 default route in the main table.
pub(crate) fn parse_default_route(received: &Received) -> Option<u32> {
    const MAIN: u8 = 254;
    let header = &received.payload;
    let is_default =
        header.first() == Some(&AF_INET) && header.get(1) == Some(&0) && header.get(4) == Some(&MAIN);
    let attributes = received.attributes(ROUTE_HEADER);
    attributes.find_kind(RTA_OIF).filter(|_| is_default).and_then(number)
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// The address in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address in network order, read.
pub(crate) fn address_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}
