//! Where a container asks for names: 127.0.0.11, in its own network namespace.
//!
//! Made here are the sockets; who answers on them is another's. They listen on ports that the kernel chooses, to which
//! packets for port 53 are led: a container's own server must be able to take port 53 of all addresses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};

use sys::netns;

use crate::error::Error;
use crate::firewall;
use crate::model::Protocol;

/// The server's address: Docker's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The sockets to which a container's questions come.
#[derive(Debug)]
pub struct Sockets {
    pub udp: OwnedFd,
    /// Listens.
    pub tcp: OwnedFd,
}

/// Makes the sockets in a container's namespace. Where there are some already, questions come to the new ones from
/// now on.
pub fn listen(namespace: BorrowedFd<'_>) -> Result<Sockets, Error> {
    let work = || {
        let socket = |source| Error::Names { source };
        let udp = UdpSocket::bind((ADDRESS, 0)).map_err(socket)?;
        let tcp = TcpListener::bind((ADDRESS, 0)).map_err(socket)?;
        let port = |address: std::io::Result<std::net::SocketAddr>| Ok(address.map_err(socket)?.port());
        let ports = [(Protocol::Udp, port(udp.local_addr())?), (Protocol::Tcp, port(tcp.local_addr())?)];
        firewall::lead_names(ADDRESS, &ports)?;
        Ok(Sockets { udp: udp.into(), tcp: tcp.into() })
    };
    netns::within(namespace, work).map_err(|source| Error::Namespace { attempt: "enter", source })?
}
