//! The rule set: pure functions from networks and endpoints to nf_tables requests.
//!
//! The rules never change; what changes are the elements of the sets and maps that they look into. In the
//! notation of `nft`, for IPv4 (`ip6 dhow` is the same with wider addresses):
//!
//! ```text
//! table ip dhow {
//!   set bridges    { type ifname }             # every bridge of ours
//!   set internal   { type ifname }             # bridges of internal networks
//!   set open       { type ifname . ifname }    # each bridge with itself, when its endpoints may talk
//!   set home       { type ipv4_addr . ifname; flags interval }   # each subnet with its bridge
//!   set masquerade { type ifname }             # bridges whose packets get our address on the way out
//!   map published  { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//!   map anywhere   { type inet_proto . inet_service : ipv4_addr . inet_service }
//!
//!   chain guard       { type filter hook prerouting priority raw
//!                       iifname @bridges ip daddr 127.0.0.0/8 drop }
//!   chain prerouting  { type nat hook prerouting priority dstnat
//!                       ip daddr 127.0.0.0/8 return
//!                       fib daddr type local dnat to ip daddr . meta l4proto . th dport map @published
//!                       fib daddr type local dnat to meta l4proto . th dport map @anywhere }
//!   chain output      { type nat hook output priority dstnat
//!                       fib daddr type local dnat to … the same two }
//!   chain postrouting { type nat hook postrouting priority srcnat
//!                       ip saddr 127.0.0.0/8 oifname @bridges masquerade
//!                       ip saddr . oifname @home ct status dnat masquerade
//!                       ip saddr . oifname @home return
//!                       iifname @masquerade masquerade }
//!   chain forward     { type filter hook forward priority filter
//!                       ct state established,related accept
//!                       iifname . oifname @open accept
//!                       iifname @internal drop
//!                       oifname @internal drop
//!                       oifname @bridges ct status dnat accept
//!                       oifname @bridges drop
//!                       iifname @bridges accept
//!                       jump strangers }
//!   chain strangers   { }                      # filled when we turned packet forwarding on
//! }
//! ```
//!
//! - Only packets that were led to a container by a published port (or by a rule of the administrator)
//!   enter a bridge from outside; this holds for other bridges and for neighbours with a route too.
//! - `guard` takes back what `route_localnet` on the bridges would give away: a container must not reach
//!   services that listen on 127.0.0.1. `prerouting` leaves 127.0.0.0/8 alone, so that a neighbour does not
//!   reach a port that is published there: the routing code then drops the packet as a martian.
//! - A container that connects to a port of its own network through this machine's address needs its
//!   answers to come back the same way: hence the masquerade of `home`. It asks for the source address,
//!   because frames that br_netfilter leads to another port of the bridge have no input interface there.
//! - An `accept` here ends only this table's chain. A `drop` of another table at the same hook still holds:
//!   with Docker on the same machine its FORWARD policy must allow our bridges (chain DOCKER-USER).

use super::expression::{Expression as E, LOCAL, Register, Verdict};
use super::nft::{self, Element, Family, Hook, Part, Set};
use crate::link::octets;
use crate::model::{Endpoint, Network, PortMap, Protocol};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use sys::netlink::{self, Message};

/// Comment of every rule. Another rule set needs another version; a set whose type changes, another name.
pub(crate) const VERSION: &str = "dhow 1";

/// The chain whose first rule tells the version.
pub(crate) const FORWARD_CHAIN: &str = "forward";

pub(crate) const STRANGERS: &str = "strangers";

pub(crate) const PUBLISHED: &str = "published";
pub(crate) const ANYWHERE: &str = "anywhere";

const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const OPEN: &str = "open";
pub(crate) const HOME: &str = "home";
const MASQUERADE: &str = "masquerade";

/// The sets that networks are in.
pub(crate) const NETWORK_SETS: [&str; 5] = [BRIDGES, INTERNAL, OPEN, HOME, MASQUERADE];

/// The maps that published ports are in.
pub(crate) const PORT_MAPS: [&str; 2] = [PUBLISHED, ANYWHERE];

const SETS: [Set; 7] = [
    Set::exact(BRIDGES, &[Part::Interface]),
    Set::exact(INTERNAL, &[Part::Interface]),
    Set::exact(OPEN, &[Part::Interface, Part::Interface]),
    Set::ranges(HOME, &[Part::Address, Part::Interface]),
    Set::exact(MASQUERADE, &[Part::Interface]),
    Set::map(PUBLISHED, &[Part::Address, Part::Protocol, Part::Port], &[Part::Address, Part::Port]),
    Set::map(ANYWHERE, &[Part::Protocol, Part::Port], &[Part::Address, Part::Port]),
];

/// The table without elements. Applied to a table of an older version it replaces the rules and keeps the
/// elements.
pub(crate) fn table(family: Family) -> Vec<Message> {
    let mut messages = vec![nft::table(family)];
    messages.extend(SETS.iter().zip(1..).map(|(set, number)| nft::set(family, set, number)));
    messages.push(nft::chain(family, STRANGERS, None));
    for (name, hook, rules) in chains(family) {
        messages.push(nft::chain(family, name, Some(hook)));
        messages.push(nft::flush(family, name));
        messages.extend(rules.into_iter().map(|rule| nft::rule(family, name, VERSION, rule)));
    }
    messages
}

/// The rules that keep a machine from routing between interfaces that are not ours. Frames that pass
/// through somebody else's bridge are not routed and go on.
pub(crate) fn closing(family: Family) -> Vec<Message> {
    let bridged = vec![
        E::InputKind(FIRST),
        E::Equal(FIRST, interface("bridge")),
        E::OutputKind(FIRST),
        E::Equal(FIRST, interface("bridge")),
        E::Verdict(Verdict::Return),
    ];
    let rules = [bridged, vec![E::Verdict(Verdict::Drop)]];
    let comment = "packet forwarding was off before dhow";
    let mut messages = vec![nft::flush(family, STRANGERS)];
    messages.extend(rules.into_iter().map(|rule| nft::rule(family, STRANGERS, comment, rule)));
    messages
}

const FIRST: Register = Register(0);
/// Behind an interface's name in the first registers.
const BEHIND_NAME: Register = Register(4);

type Chain = (&'static str, Hook, Vec<Vec<E>>);

fn chains(family: Family) -> Vec<Chain> {
    let hook = |kind, number, priority| Hook { kind, number, priority };
    vec![
        ("guard", hook("filter", nft::PREROUTING, -300), guard(family)),
        ("prerouting", hook("nat", nft::PREROUTING, -100), prerouting(family)),
        ("output", hook("nat", nft::OUTPUT, -100), output(family)),
        ("postrouting", hook("nat", nft::POSTROUTING, 100), postrouting(family)),
        (FORWARD_CHAIN, hook("filter", nft::FORWARD, 0), forward()),
    ]
}

fn guard(family: Family) -> Vec<Vec<E>> {
    match family {
        Family::V4 => {
            let mut rule = input_in(BRIDGES);
            rule.extend(loopback(E::Destination(family, FIRST)));
            rule.push(E::Verdict(Verdict::Drop));
            vec![rule]
        }
        // The IPv6 receive path drops packets from or to ::1 by itself.
        Family::V6 => vec![],
    }
}

fn prerouting(family: Family) -> Vec<Vec<E>> {
    let mut rules = vec![];
    if family == Family::V4 {
        let mut rule = loopback(E::Destination(family, FIRST));
        rule.push(E::Verdict(Verdict::Return));
        rules.push(rule);
    }
    rules.extend(lead_to_endpoints(family));
    rules
}

fn output(family: Family) -> Vec<Vec<E>> {
    let mut rules = vec![];
    if family == Family::V6 {
        // There is no route_localnet for IPv6: a packet from ::1 cannot leave through a bridge.
        let loopback = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        rules.push(vec![
            E::Destination(family, FIRST),
            E::Equal(FIRST, octets(loopback)),
            E::Verdict(Verdict::Return),
        ]);
    }
    rules.extend(lead_to_endpoints(family));
    rules
}

fn lead_to_endpoints(family: Family) -> [Vec<E>; 2] {
    let words = family.width() as u32 / 4;
    let (protocol, port) = (Register(words), Register(words + 1));
    let for_this_machine = [E::DestinationKind(FIRST), E::Equal(FIRST, LOCAL.to_ne_bytes().to_vec())];
    let mut exact = for_this_machine.to_vec();
    exact.extend([
        E::Destination(family, FIRST),
        E::TransportProtocol(protocol),
        E::DestinationPort(port),
        E::Map(PUBLISHED, FIRST, FIRST),
        E::DestinationNat(family, FIRST, protocol),
    ]);
    let mut anywhere = for_this_machine.to_vec();
    anywhere.extend([
        E::TransportProtocol(FIRST),
        E::DestinationPort(Register(1)),
        E::Map(ANYWHERE, FIRST, FIRST),
        E::DestinationNat(family, FIRST, protocol),
    ]);
    [exact, anywhere]
}

fn postrouting(family: Family) -> Vec<Vec<E>> {
    let mut rules = vec![];
    if family == Family::V4 {
        let mut rule = loopback(E::Source(family, FIRST));
        rule.extend([E::OutputInterface(FIRST), E::InSet(BRIDGES, FIRST), E::Masquerade]);
        rules.push(rule);
    }
    let behind_address = Register(family.width() as u32 / 4);
    let at_home = [E::Source(family, FIRST), E::OutputInterface(behind_address), E::InSet(HOME, FIRST)];
    let mut hairpin = at_home.to_vec();
    hairpin.extend(led_to_endpoint());
    hairpin.push(E::Masquerade);
    let inside = decided(at_home.to_vec(), Verdict::Return);
    let mut outbound = input_in(MASQUERADE);
    outbound.push(E::Masquerade);
    rules.extend([hairpin, inside, outbound]);
    rules
}

fn forward() -> Vec<Vec<E>> {
    const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
    let mut known = vec![E::ConnectionState(FIRST)];
    known.extend(any_bit(ESTABLISHED_OR_RELATED));
    let between_endpoints =
        vec![E::InputInterface(FIRST), E::OutputInterface(BEHIND_NAME), E::InSet(OPEN, FIRST)];
    let output_in = |set| vec![E::OutputInterface(FIRST), E::InSet(set, FIRST)];
    let mut published = output_in(BRIDGES);
    published.extend(led_to_endpoint());
    vec![
        decided(known, Verdict::Accept),
        decided(between_endpoints, Verdict::Accept),
        decided(input_in(INTERNAL), Verdict::Drop),
        decided(output_in(INTERNAL), Verdict::Drop),
        decided(published, Verdict::Accept),
        decided(output_in(BRIDGES), Verdict::Drop),
        decided(input_in(BRIDGES), Verdict::Accept),
        vec![E::Verdict(Verdict::Jump(STRANGERS))],
    ]
}

fn decided(mut rule: Vec<E>, verdict: Verdict) -> Vec<E> {
    rule.push(E::Verdict(verdict));
    rule
}

fn input_in(set: &'static str) -> Vec<E> {
    vec![E::InputInterface(FIRST), E::InSet(set, FIRST)]
}

/// The address that `load` puts into the first register is in 127.0.0.0/8.
fn loopback(load: E) -> Vec<E> {
    vec![load, E::And(FIRST, vec![255, 0, 0, 0]), E::Equal(FIRST, vec![127, 0, 0, 0])]
}

/// The connection's destination was changed.
fn led_to_endpoint() -> Vec<E> {
    const DESTINATION_NAT: u32 = 32;
    let mut steps = vec![E::ConnectionStatus(FIRST)];
    steps.extend(any_bit(DESTINATION_NAT));
    steps
}

fn any_bit(mask: u32) -> [E; 2] {
    [E::And(FIRST, mask.to_ne_bytes().to_vec()), E::NotEqual(FIRST, vec![0; 4])]
}

/// An interface's name as it stands in a register.
pub(crate) fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// An element and the set or map that it belongs to.
pub(crate) type Entry = (Family, &'static str, Element);

/// The families that a network needs tables for.
pub(crate) fn families(network: &Network) -> impl Iterator<Item = Family> + '_ {
    let has = |family: Family| {
        network.bridge.subnets.iter().any(|subnet| subnet.gateway.is_ipv4() == (family == Family::V4))
    };
    Family::ALL.into_iter().filter(move |family| has(*family))
}

/// What makes the network known to the rules.
pub(crate) fn network(network: &Network) -> Vec<Entry> {
    let bridge = &network.bridge;
    let name = interface(&bridge.ifname);
    let pair = [name.as_slice(), name.as_slice()].concat();
    let memberships = [
        (BRIDGES, &name, true),
        (INTERNAL, &name, bridge.internal),
        (OPEN, &pair, bridge.icc),
        (MASQUERADE, &name, bridge.masquerade && !bridge.internal),
    ];
    let mut entries = Vec::new();
    for family in families(network) {
        let member = memberships.iter().filter(|(_, _, member)| *member);
        entries.extend(member.map(|(set, key, _)| (family, *set, Element::exact(key.to_vec(), &network.id))));
    }
    entries.extend(homes(network));
    entries
}

/// What says which addresses are the network's.
pub(crate) fn homes(network: &Network) -> Vec<Entry> {
    let name = interface(&network.bridge.ifname);
    network.bridge.subnets.iter().map(|subnet| home(subnet.net, &name, &network.id)).collect()
}

fn home(net: IpNet, interface: &[u8], id: &str) -> Entry {
    let family = if net.addr().is_ipv4() { Family::V4 } else { Family::V6 };
    let key = |address| [octets(address), interface.to_vec()].concat();
    let element = Element { end: key(net.broadcast()), ..Element::exact(key(net.network()), id) };
    (family, HOME, element)
}

/// Whether a subnet that is there keeps a network from having its own: it has addresses of them, or is the same network's in their
/// place.
pub(crate) fn excludes((family, _, present): &Entry, wanted: &[Entry]) -> bool {
    let ends = |element: &Element| {
        let address = |key: &[u8]| key.get(..family.width()).unwrap_or_default().to_vec();
        (address(&element.key), address(&element.end))
    };
    let (first, last) = ends(present);
    let wanted = || wanted.iter().filter(|entry| entry.0 == *family).map(|entry| &entry.2);
    let is_in_the_way = |element: &Element| {
        let (start, end) = ends(element);
        element.owner == present.owner || (first <= end && start <= last)
    };
    !wanted().any(|element| element == present) && wanted().any(is_in_the_way)
}

/// The interface that an element of a network's set is about.
pub(crate) fn interface_of((family, set, element): &Entry) -> String {
    let start = if *set == HOME { family.width() } else { 0 };
    element.key.get(start..start + 16).map(netlink::text).unwrap_or_default()
}

/// What leads the endpoint's ports to it. A port on an address of a family that the endpoint has no address
/// of leads nowhere, and an internal network is not reached from outside.
pub(crate) fn endpoint(network: &Network, endpoint: &Endpoint) -> Vec<Entry> {
    if network.bridge.internal {
        return vec![];
    }
    let entry = |map: &PortMap| {
        let ipv4 = map.host_ip.is_ipv4();
        let target = endpoint.addresses.iter().map(|net| net.addr()).find(|ip| ip.is_ipv4() == ipv4)?;
        let family = if ipv4 { Family::V4 } else { Family::V6 };
        let (name, key) = port_key(map);
        let data = [octets(target), port(map.container_port)].concat();
        Some((family, name, Element { data, ..Element::exact(key, &endpoint.id) }))
    };
    endpoint.ports.iter().filter_map(entry).collect()
}

/// The map and the key of a published port.
pub(crate) fn port_key(map: &PortMap) -> (&'static str, Vec<u8>) {
    let protocol = vec![map.protocol.number(), 0, 0, 0];
    let tail = [protocol, port(map.host_port)].concat();
    if map.host_ip.is_unspecified() {
        (ANYWHERE, tail)
    } else {
        (PUBLISHED, [octets(map.host_ip), tail].concat())
    }
}

/// What leads questions for names to where the server of names listens, within a container's namespace (IPv4 only):
///
/// ```text
/// table ip dhow {
///   chain names { type nat hook output priority dstnat
///                 ip daddr <address> meta l4proto <protocol> th dport 53 dnat to <address>:<port>    # one for each protocol
///   }
/// }
/// ```
pub(crate) fn names(address: Ipv4Addr, ports: &[(Protocol, u16)]) -> Vec<Message> {
    const CHAIN: &str = "names";
    const QUESTIONS: u16 = 53;
    let family = Family::V4;
    let hook = Hook { kind: "nat", number: nft::OUTPUT, priority: -100 };
    let address = address.octets().to_vec();
    let rule = |(protocol, to): &(Protocol, u16)| {
        let steps = vec![
            E::Destination(family, FIRST),
            E::Equal(FIRST, address.clone()),
            E::TransportProtocol(FIRST),
            E::Equal(FIRST, vec![protocol.number()]),
            E::DestinationPort(FIRST),
            E::Equal(FIRST, QUESTIONS.to_be_bytes().to_vec()),
            E::Load(FIRST, address.clone()),
            E::Load(Register(1), to.to_be_bytes().to_vec()),
            E::DestinationNat(family, FIRST, Register(1)),
        ];
        nft::rule(family, CHAIN, VERSION, steps)
    };
    let chain = [nft::table(family), nft::chain(family, CHAIN, Some(hook)), nft::flush(family, CHAIN)];
    chain.into_iter().chain(ports.iter().map(rule)).collect()
}

fn port(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![high, low, 0, 0]
}
