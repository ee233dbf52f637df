//! Container networks: bridges, endpoints, addresses, published ports.
//!
//! Knows network namespaces and endpoints, not containers. A caller describes a [`Network`] and an
//! [`Endpoint`] as values; the functions here bring the kernel into that state and may be called again at
//! any time. Kernel objects are named from ids, so that taking them away needs no record of setting them up.
//!
//! What belongs to the machine (bridges, the host's ends of veth pairs, the nf_tables tables `ip dhow` and
//! `ip6 dhow`) is made in the network namespace of the calling thread.

mod attach;
mod bridge;
mod conntrack;
mod error;
mod firewall;
mod forwarding;
pub mod hosts;
pub mod ipam;
mod link;
mod model;
pub mod names;
mod owner;
pub mod ports;
pub mod resolv;
mod survey;
mod sysctl;
#[cfg(test)]
mod tests;

pub use attach::{
    ComingNamespace, attach, begin_namespace, create_namespace, detach, publish, route_out, withdraw,
};
pub use bridge::{bridge_name, claim, ensure_network, port_name, remove_network};
pub use error::Error;
pub use firewall::{PublishedPort, published_ports, remove_tables};
pub use model::{Bridge, Endpoint, InvalidMac, Mac, Network, PortMap, Protocol, Subnet, UnknownProtocol};
pub use survey::{
    FoundLink, Survey, check_interface, host_routes, remove_abandoned, remove_orphan, remove_unknown, survey,
    uplink_mtu,
};
