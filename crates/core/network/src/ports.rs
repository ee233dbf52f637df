//! Host ports: a published port is bound by a socket for as long as it is published, so that nobody else on
//! the machine gets it and a port that is taken is an error at start, not a silent theft of its traffic.
//!
//! The sockets are bound and never listen: packets are led to the container before they would reach them.
//! Without `SO_REUSEADDR` a bound socket excludes every other one, listening or not.

use crate::firewall;
use crate::model::{PortMap, Protocol};
use crate::owner;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

/// A port to publish. `host_ports` is one port, a range of which the first free one is taken, or `0..=0` for
/// whatever the kernel finds free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_ip: IpAddr,
    pub host_ports: RangeInclusive<u16>,
}

/// A host port that is ours while `socket` is open.
#[derive(Debug)]
pub struct Reservation {
    pub map: PortMap,
    pub socket: OwnedFd,
}

/// Why a host port could not be had. The texts are Docker's; [`Error::hint`] says who has the port.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another container has it.
    #[error("Bind for {0} failed: port is already allocated")]
    Allocated(SocketAddr),
    /// Another program has it.
    #[error("failed to bind host port for {address}/{protocol}: address already in use")]
    InUse { address: SocketAddr, protocol: Protocol, owner: Option<String> },
    #[error("Bind for {host_ip} failed: all ports from {} to {} are in use", .ports.start(), .ports.end())]
    RangeExhausted { host_ip: IpAddr, ports: RangeInclusive<u16> },
    #[error("failed to bind host port for {address}/{protocol}: cannot assign requested address")]
    NoSuchAddress { address: SocketAddr, protocol: Protocol },
    #[error("failed to bind host port for {address}/{protocol}: permission denied")]
    Forbidden { address: SocketAddr, protocol: Protocol },
    #[error("cannot publish a port over {0}: this kernel does not support the protocol")]
    ProtocolUnsupported(Protocol),
    #[error("bind host port {address}/{protocol}")]
    Bind {
        address: SocketAddr,
        protocol: Protocol,
        #[source]
        source: Errno,
    },
}

impl Error {
    /// Who has the port, or what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Allocated(_) => Some("another container publishes this port".into()),
            Error::InUse { owner: Some(owner), .. } => Some(format!("the port is in use by {owner}")),
            Error::Bind { source: Errno::MFILE | Errno::NFILE, .. } => Some(
                "each published port holds a file open: publish fewer, or raise the limit (ulimit -n)".into(),
            ),
            Error::NoSuchAddress { address, .. } => {
                Some(format!("no interface of this machine has the address {}", address.ip()))
            }
            _ => None,
        }
    }
}

/// Binds the port that `request` asks for, in the calling thread's network namespace.
pub fn reserve(request: &Request) -> Result<Reservation, Error> {
    let ports = request.host_ports.clone();
    if ports.start() >= ports.end() {
        return reserve_one(request, *ports.start());
    }
    for port in ports.clone() {
        match reserve_one(request, port) {
            Err(Error::Allocated(_) | Error::InUse { .. }) => {}
            outcome => return outcome,
        }
    }
    Err(Error::RangeExhausted { host_ip: request.host_ip, ports })
}

fn reserve_one(request: &Request, port: u16) -> Result<Reservation, Error> {
    let address = SocketAddr::new(request.host_ip, port);
    let (host_port, socket) =
        bind(request.protocol, address).map_err(|errno| explain(request.protocol, address, errno))?;
    let map = PortMap {
        protocol: request.protocol,
        container_port: request.container_port,
        host_ip: request.host_ip,
        host_port,
    };
    Ok(Reservation { map, socket })
}

fn bind(protocol: Protocol, address: SocketAddr) -> Result<(u16, OwnedFd), Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    let bound: SocketAddr = rustix::net::getsockname(&socket)?.try_into()?;
    Ok((bound.port(), socket))
}

fn explain(protocol: Protocol, address: SocketAddr, errno: Errno) -> Error {
    match errno {
        Errno::ADDRINUSE => who_has(protocol, address),
        Errno::ADDRNOTAVAIL => Error::NoSuchAddress { address, protocol },
        Errno::ACCESS | Errno::PERM => Error::Forbidden { address, protocol },
        Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT => Error::ProtocolUnsupported(protocol),
        source => Error::Bind { address, protocol, source },
    }
}

/// Tells our own ports from those of other programs. A TCP socket that is bound and does not listen is in no
/// list of the kernel's, and nobody but us keeps one: in use and unlisted means that another container is
/// about to publish the port.
fn who_has(protocol: Protocol, address: SocketAddr) -> Error {
    if firewall::is_published(protocol, address) {
        return Error::Allocated(address);
    }
    match owner::find(protocol, address) {
        owner::Owner::Process(owner) => Error::InUse { address, protocol, owner: Some(owner) },
        owner::Owner::Unknown => Error::InUse { address, protocol, owner: None },
        owner::Owner::Unlisted if protocol == Protocol::Tcp => Error::Allocated(address),
        owner::Owner::Unlisted => Error::InUse { address, protocol, owner: None },
    }
}
