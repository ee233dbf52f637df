//! `linux.netDevices`: network devices of the machine that become the container's (rtnetlink(7)). A device that moves
//! loses its addresses, so the permanent global ones are read before and given back after. What becomes of the device
//! later is the network namespace's business.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use oci::runtime::{Linux, NamespaceType};
use sys::netlink::{self, Message, Protocol, Received, Socket};

use crate::Error;

const SET_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;

const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;

const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
const ADDRESS_FLAGS: u16 = 8;

const UP: u32 = 1;
const PERMANENT: u8 = 0x80;
/// No detection of duplicates: the address was in use on this very device until now.
const NO_DETECTION: u32 = 0x02;

/// `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// Names that the kernel would refuse, and a network that isn't the container's own.
pub(crate) fn check(linux: &Linux) -> Result<(), Error> {
    let bad = |reason: String| Err(Error::Spec { reason });
    if linux.net_devices.is_empty() {
        return Ok(());
    }
    if linux.namespace(NamespaceType::Network).is_none() {
        return bad("unable to move network devices without a private NET namespace".to_owned());
    }
    let mut taken = Vec::new();
    for (device, wanted) in &linux.net_devices {
        let name = if wanted.name.is_empty() { device } else { &wanted.name };
        let numbered = name.ends_with("%d") && !wanted.name.is_empty();
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
        for name in [device.as_str(), name.strip_suffix("%d").filter(|_| numbered).unwrap_or(name)] {
            if name.is_empty()
                || name.len() > 15
                || name.contains(odd)
                || matches!(name, "." | "..")
                || name.contains('%')
            {
                return bad(format!("invalid network device name {name:?}"));
            }
        }
        if !numbered && taken.contains(&name) {
            return bad(format!("two network devices are to be named {name:?}"));
        }
        taken.push(name);
    }
    Ok(())
}

/// Moves all devices into the network namespace of a process.
pub(crate) fn give(linux: &Linux, pid: i32) -> Result<(), Error> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace =
        File::open(&path).map_err(|source| Error::Call { attempt: format!("open {path}"), source })?;
    for (device, wanted) in &linux.net_devices {
        let name = if wanted.name.is_empty() { device } else { &wanted.name };
        let fail = |source| Error::NetDevice { device: device.clone(), source };
        let mut socket = Socket::open(Protocol::Route).map_err(fail)?;
        let index = index(&mut socket, device).map_err(fail)?;
        let addresses = addresses(&mut socket, index).map_err(fail)?;
        let before = within(namespace.as_fd(), indexes).map_err(fail)?;
        let moved = link(index, 0, 0).u32(LINK_NAMESPACE, namespace.as_raw_fd() as u32).text(LINK_NAME, name);
        socket.execute(vec![moved]).map_err(fail)?;
        within(namespace.as_fd(), |socket| settle(socket, &before, &addresses)).map_err(fail)?;
    }
    Ok(())
}

fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce(&mut Socket) -> Result<T, netlink::Error> + Send,
) -> Result<T, netlink::Error> {
    sys::netns::within(namespace, || work(&mut Socket::open(Protocol::Route)?))
        .map_err(netlink::Error::Open)?
}

fn indexes(socket: &mut Socket) -> Result<Vec<u32>, netlink::Error> {
    let links = socket.dump(&Message::new(GET_LINK, 0, &[0; LINK_HEADER]))?;
    links.iter().map(|link| word(link, 4)).collect()
}

/// The device is found as the one that was not there before: its number and its name may be new.
fn settle(socket: &mut Socket, before: &[u32], addresses: &[Received]) -> Result<(), netlink::Error> {
    let new = indexes(socket)?.into_iter().find(|index| !before.contains(index));
    let index = new.ok_or(netlink::Error::Malformed)?;
    let mut batch = vec![link(index, UP, UP)];
    batch.extend(addresses.iter().filter_map(|address| address_again(address, index)));
    socket.execute(batch)
}

fn link(index: u32, flags: u32, change: u32) -> Message {
    let mut header = [0u8; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    Message::new(SET_LINK, 0, &header)
}

fn index(socket: &mut Socket, device: &str) -> Result<u32, netlink::Error> {
    let found = socket.get(Message::new(GET_LINK, 0, &[0; LINK_HEADER]).text(LINK_NAME, device))?;
    word(&found, 4)
}

fn word(message: &Received, at: usize) -> Result<u32, netlink::Error> {
    let bytes = message.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or(netlink::Error::Malformed)
}

/// The permanent global addresses of a device.
fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<Received>, netlink::Error> {
    let all = socket.dump(&Message::new(GET_ADDRESS, 0, &[0; ADDRESS_HEADER]))?;
    let stays = |found: &Received| match found.payload.first_chunk::<4>() {
        Some([_, _, flags, scope]) => {
            flags & PERMANENT != 0 && *scope == 0 && word(found, 4).ok() == Some(index)
        }
        None => false,
    };
    Ok(all.into_iter().filter(stays).collect())
}

/// The request that gives an address to a device.
fn address_again(found: &Received, index: u32) -> Option<Message> {
    let [family, prefix, flags, scope] = found.payload.first_chunk::<4>().copied()?;
    let mut header = [family, prefix, flags, scope, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(NEW_ADDRESS, netlink::CREATE | netlink::REPLACE, &header);
    for kind in [ADDRESS, ADDRESS_LOCAL, ADDRESS_BROADCAST] {
        if let Some(value) = found.attributes(ADDRESS_HEADER).find_kind(kind) {
            message = message.bytes(kind, value);
        }
    }
    Some(message.u32(ADDRESS_FLAGS, u32::from(PERMANENT) | NO_DETECTION))
}

#[cfg(test)]
mod tests {
    use oci::runtime::{Namespace, NetDevice};

    use super::*;

    fn checked(devices: &[(&str, &str)]) -> Result<(), Error> {
        let device = |(name, new): &(&str, &str)| ((*name).to_owned(), NetDevice { name: (*new).to_owned() });
        check(&Linux {
            namespaces: vec![Namespace { typ: NamespaceType::Network, path: None }],
            net_devices: devices.iter().map(device).collect(),
            ..Linux::default()
        })
    }

    #[test]
    fn names_are_checked() {
        assert!(checked(&[("eth1", ""), ("eth2", "lan%d"), ("eth3", "lan%d")]).is_ok());
        for (device, name) in
            [("", ""), ("a/b", ""), ("eth0", "a b"), ("eth0", "0123456789abcdef"), ("%d", "")]
        {
            assert!(checked(&[(device, name)]).is_err(), "{device:?} {name:?}");
        }
        assert!(checked(&[("eth1", "lan"), ("eth2", "lan")]).is_err());
        let device = [("eth0".to_owned(), NetDevice::default())];
        let shared = Linux { net_devices: device.into(), ..Linux::default() };
        assert!(check(&shared).unwrap_err().to_string().contains("private NET"));
    }
}
