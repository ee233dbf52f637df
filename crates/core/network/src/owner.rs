//! Which process has a host port (man 5 proc: `/proc/net/tcp`, `/proc/pid/fd`). For hints only: everything
//! here may be out of date when it is read, and unreadable things are skipped.

use crate::model::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// e.g. `nginx (pid 123)`.
    Process(String),
    /// A socket has the port, but no visible process has the socket.
    Unknown,
    /// No listed socket has the port.
    Unlisted,
}

/// Looks for a socket in the calling thread's network namespace that excludes binding `address`.
pub(crate) fn find(protocol: Protocol, address: SocketAddr) -> Owner {
    let files = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
        Protocol::Sctp => return Owner::Unknown,
    };
    let mut found = Owner::Unlisted;
    for file in files {
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        for (local, inode) in table.lines().skip(1).filter_map(socket) {
            if !excludes(local, address) {
                continue;
            }
            match process_with_socket(inode) {
                Some(owner) => return Owner::Process(owner),
                None => found = Owner::Unknown,
            }
        }
    }
    found
}

/// The local address and the inode of one line.
fn socket(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let inode = fields.nth(7)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // The kernel prints each 32-bit word of the address as a number of the machine's order.
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: Vec<u8> = words.concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?))
        }
        _ => return None,
    };
    Some((SocketAddr::new(ip, port), inode))
}

/// Whether a socket at `local` stands in the way of one at `wanted`: an unspecified address takes the port
/// at every address, and an unspecified IPv6 address usually that of IPv4 too.
fn excludes(local: SocketAddr, wanted: SocketAddr) -> bool {
    let ip = local.ip().to_canonical();
    let meets = ip == wanted.ip()
        || (ip.is_unspecified() && (ip.is_ipv6() || wanted.is_ipv4()))
        || (wanted.ip().is_unspecified() && ip.is_ipv4() == wanted.is_ipv4());
    local.port() == wanted.port() && meets
}

fn process_with_socket(inode: u64) -> Option<String> {
    if inode == 0 {
        return None;
    }
    let wanted = format!("socket:[{inode}]");
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        let Ok(descriptors) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        let holds = descriptors.flatten().any(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        });
        if holds {
            let command = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", command.trim_end()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_from_the_table() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100";
        assert_eq!(socket(line), Some(("127.0.0.1:8080".parse().unwrap(), 4711)));
        let line = "0: 00000000000000000000000001000000:0050 0:0 0A 0:0 0:0 0 0 0 9 1";
        assert_eq!(socket(line), Some(("[::1]:80".parse().unwrap(), 9)));
        assert_eq!(socket("0: xyz"), None);
    }

    #[test]
    fn unspecified_addresses_exclude_the_others() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(excludes(at("0.0.0.0:80"), at("127.0.0.1:80")));
        assert!(excludes(at("127.0.0.1:80"), at("0.0.0.0:80")));
        assert!(excludes(at("[::]:80"), at("10.0.0.1:80")));
        assert!(!excludes(at("[::1]:80"), at("0.0.0.0:80")));
        assert!(!excludes(at("10.0.0.1:80"), at("10.0.0.2:80")));
        assert!(!excludes(at("0.0.0.0:80"), at("0.0.0.0:81")));
    }
}
