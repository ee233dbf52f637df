//! The firewall on this machine, brought into the state that [`ruleset`] computes.
//!
//! Each change is one transaction of the kernel's. A change that depends on what is there reads the rule
//! set, and its transaction names the generation that was read: when another program (or another engine)
//! was faster, the kernel refuses and the change is computed anew.

mod expression;
mod listing;
mod nft;
mod ruleset;

use crate::error::Error;
use crate::forwarding::Switches;
use crate::model::{Endpoint, Network, PortMap};
use nft::Family;
use ruleset::Entry;
use rustix::io::Errno;
use std::net::{Ipv4Addr, SocketAddr};
use sys::netlink::{self, Message, Protocol, Socket};

pub(crate) use listing::network_bridges;
pub use listing::{PublishedPort, published_ports};

/// How often a change is computed anew before we give up. Each time somebody else got ahead.
const TRIES: usize = 1000;

/// Makes sure that the rules are there and know the network. Where forwarding is about to be switched on,
/// they keep the machine from routing between strangers.
pub(crate) fn ensure(network: &Network, switched_on: Switches) -> Result<(), Error> {
    let mut socket = open()?;
    change(&mut socket, "set up network", |socket| {
        let mut messages = Vec::new();
        let wanted = ruleset::network(network);
        for family in ruleset::families(network) {
            let present = listing::version(socket, family)?;
            if present.as_deref() != Some(ruleset::VERSION) {
                messages.extend(ruleset::table(family));
            }
            let closing = match family {
                Family::V4 => switched_on.ipv4,
                Family::V6 => switched_on.ipv6,
            };
            if closing {
                messages.extend(ruleset::closing(family));
            }
            let mine = |entry: &Entry| ruleset::interface_of(entry) == network.bridge.ifname;
            let present = listing::entries(socket, family, &ruleset::NETWORK_SETS)?;
            messages.extend(difference(&present, &wanted, family, mine));
        }
        Ok(messages)
    })
}

/// Takes a network's subnets for it, unless another network has addresses of them; whether they are its own now. Of several that ask
/// at once the kernel lets one be first.
pub(crate) fn claim(network: &Network) -> Result<bool, Error> {
    let mut socket = open()?;
    let wanted = ruleset::homes(network);
    let mut is_free = true;
    change(&mut socket, "set up network", |socket| {
        let mut messages = Vec::new();
        is_free = true;
        for family in ruleset::families(network) {
            if listing::version(socket, family)?.as_deref() != Some(ruleset::VERSION) {
                messages.extend(ruleset::table(family));
            }
            let present = listing::entries(socket, family, &[ruleset::HOME])?;
            is_free &= present.iter().all(|one| !ruleset::excludes(one, &wanted));
            messages.extend(difference(&present, &wanted, family, |_| false));
        }
        if !is_free {
            messages.clear();
        }
        Ok(messages)
    })?;
    Ok(is_free)
}

/// Removes every element of a network or an endpoint. With the last one of all engines the tables go, too: who is about to use
/// them adds them again together with what it adds.
pub(crate) fn remove(owner: &str) -> Result<(), Error> {
    let sets = [&ruleset::NETWORK_SETS[..], &ruleset::PORT_MAPS].concat();
    if_any(take_away("remove rules", |socket| {
        let mut messages = Vec::new();
        for family in Family::ALL {
            let present = listing::entries(socket, family, &sets)?;
            let owned = |entry: &Entry| entry.2.owner == owner;
            if !present.iter().all(owned) {
                messages.extend(difference(&present, &[], family, owned));
            } else if listing::version(socket, family)?.is_some() {
                messages.push(nft::table_removal(family));
            }
        }
        Ok(messages)
    }))
}

/// Leads the endpoint's ports to it.
pub(crate) fn publish(network: &Network, endpoint: &Endpoint) -> Result<(), Error> {
    let wanted = ruleset::endpoint(network, endpoint);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut socket = open()?;
    let additions = wanted.iter().map(addition).collect();
    match submit(&mut socket, None, additions) {
        Ok(()) => return Ok(()),
        // The table is gone: somebody flushed the whole rule set.
        Err(error) if error.refusal() == Some(Errno::NOENT) => {
            ensure(network, Switches::default())?;
        }
        // The port leads to an endpoint that was never withdrawn. It is ours to take: we hold its socket.
        Err(error) if matches!(error.refusal(), Some(Errno::EXIST | Errno::BUSY)) => {}
        Err(source) => return Err(Error::Firewall { attempt: "publish ports", source }),
    }
    change(&mut socket, "publish ports", |socket| {
        let mut messages = Vec::new();
        for family in Family::ALL {
            let present = listing::entries(socket, family, &ruleset::PORT_MAPS)?;
            let same_port = |entry: &Entry| wanted.iter().any(|wanted| wanted.2.key == entry.2.key);
            messages.extend(difference(&present, &wanted, family, same_port));
        }
        Ok(messages)
    })
}

/// Stops leading ports to the endpoint.
pub(crate) fn withdraw(endpoint: &Endpoint) -> Result<(), Error> {
    if endpoint.ports.is_empty() {
        return Ok(());
    }
    if_any(take_away("withdraw ports", |socket| {
        let mut messages = Vec::new();
        for family in Family::ALL {
            let present = listing::entries(socket, family, &ruleset::PORT_MAPS)?;
            messages.extend(difference(&present, &[], family, |entry| entry.2.owner == endpoint.id));
        }
        Ok(messages)
    }))
}

/// Leads questions for names within this thread's network namespace, a container's, to these ports of the address.
pub(crate) fn lead_names(address: Ipv4Addr, ports: &[(crate::Protocol, u16)]) -> Result<(), Error> {
    submit(&mut open()?, None, ruleset::names(address, ports))
        .map_err(|source| Error::Firewall { attempt: "lead questions for names", source })
}

/// Takes the tables away with all that is in them.
pub fn remove_tables() -> Result<(), Error> {
    let mut socket = open()?;
    change(&mut socket, "remove tables", |socket| {
        let mut messages = Vec::new();
        for family in Family::ALL {
            if listing::version(socket, family)?.is_some() {
                messages.push(nft::table_removal(family));
            }
        }
        Ok(messages)
    })
}

/// Whether there is a table of ours.
#[cfg(test)]
pub(crate) fn has_tables() -> bool {
    let mut socket = open().unwrap();
    Family::ALL.into_iter().any(|family| listing::version(&mut socket, family).unwrap().is_some())
}

/// Whether a container has the port at this address.
pub(crate) fn is_published(protocol: crate::Protocol, address: SocketAddr) -> bool {
    let meets = |map: &PortMap| {
        map.protocol == protocol
            && map.host_port == address.port()
            && map.host_ip.is_ipv4() == address.is_ipv4()
            && (map.host_ip == address.ip() || map.host_ip.is_unspecified() || address.ip().is_unspecified())
    };
    published_ports().is_ok_and(|ports| ports.iter().any(|port| meets(&port.map)))
}

/// [`change`] on a socket of its own, for what only removes.
fn take_away(
    attempt: &'static str,
    compute: impl FnMut(&mut Socket) -> Result<Vec<Message>, Error>,
) -> Result<(), Error> {
    let mut socket = open()?;
    let outcome = change(&mut socket, attempt, compute);
    close_later(socket);
    outcome
}

/// Closes a netfilter socket off the caller's path: after a removal the kernel makes `close` wait until
/// what was removed is freed, which takes more than ten milliseconds.
pub(crate) fn close_later(socket: Socket) {
    // When no thread can be had the closure is dropped here, and the socket with it.
    let _ = std::thread::Builder::new().name("close".into()).stack_size(64 * 1024).spawn(|| drop(socket));
}

/// What turns the present elements of `scope` into the wanted ones.
fn difference(
    present: &[Entry],
    wanted: &[Entry],
    family: Family,
    scope: impl Fn(&Entry) -> bool,
) -> Vec<Message> {
    let same = |a: &Entry, b: &Entry| a.0 == b.0 && a.1 == b.1 && a.2 == b.2;
    let stale = present.iter().filter(|entry| scope(entry) && !wanted.iter().any(|other| same(entry, other)));
    let missing =
        wanted.iter().filter(|entry| entry.0 == family && !present.iter().any(|other| same(entry, other)));
    let removals = stale.map(|(family, set, element)| nft::element_removal(*family, set, element));
    removals.chain(missing.map(addition)).collect()
}

fn addition((family, set, element): &Entry) -> Message {
    nft::element(*family, set, element)
}

pub(crate) fn open() -> Result<Socket, Error> {
    Socket::open(Protocol::Netfilter).map_err(|error| match error {
        netlink::Error::Open(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => Error::NoFirewall(error),
        other => Error::Socket(other),
    })
}

/// What is to be taken away, or listed, of a firewall: a kernel that has none has nothing of it.
fn if_any<T: Default>(outcome: Result<T, Error>) -> Result<T, Error> {
    match outcome {
        Err(Error::NoFirewall(_)) => Ok(T::default()),
        other => other,
    }
}

/// Computes a change from what is there and makes it, unless nothing has to change.
fn change(
    socket: &mut Socket,
    attempt: &'static str,
    mut compute: impl FnMut(&mut Socket) -> Result<Vec<Message>, Error>,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        let generation = listing::generation(socket)?;
        let messages = compute(socket)?;
        if messages.is_empty() {
            return Ok(());
        }
        match submit(socket, Some(generation), messages) {
            Err(error) if error.refusal() == Some(Errno::RESTART) => std::thread::yield_now(),
            outcome => return outcome.map_err(|source| Error::Firewall { attempt, source }),
        }
    }
    Err(Error::FirewallBusy(attempt))
}

fn submit(
    socket: &mut Socket,
    generation: Option<u32>,
    messages: Vec<Message>,
) -> Result<(), netlink::Error> {
    let (begin, end) = nft::brackets(generation);
    netlink::first_refusal(socket.transact(begin, messages, end)?)
}
