//! The service manager that has started this process, if it wants to be told how it goes (sd_notify(3)): `Type=notify` of a unit of
//! systemd.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the manager's socket.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// Sends one message to the socket of that name; one that begins with `@` is an abstract one.
pub fn tell(socket: &str, state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }?;
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}
