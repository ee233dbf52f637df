//! Joining a container's network namespace to a network, and parting them.

use crate::bridge::{self, ALIAS, port_name, route_socket};
use crate::conntrack;
use crate::error::Error;
use crate::firewall;
use crate::link::{self, Pair, PortFlags};
use crate::model::{Endpoint, Network};
use crate::sysctl;
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use sys::netlink::{Message, Socket};
use sys::netns;

/// A network namespace for a container that is being made, see [`begin_namespace`].
pub struct ComingNamespace(netns::Coming<Result<(), Error>>);

/// Begins to make a network namespace for a container: loopback is up, and interfaces that come later neither get
/// IPv6 addresses by themselves nor believe router advertisements (CVE-2020-13401). Who may not administer networks
/// gets a namespace whose loopback is down: still a wall, which is all that a container without networks needs.
pub fn begin_namespace() -> Result<ComingNamespace, Error> {
    netns::begin(raise_loopback).map(ComingNamespace).map_err(not_created)
}

impl ComingNamespace {
    /// Awaits it.
    pub fn get(self) -> Result<OwnedFd, Error> {
        let (namespace, loopback) = self.0.get().map_err(not_created)?;
        match loopback {
            Err(Error::Link { source, .. }) if source.refusal() == Some(Errno::PERM) => {}
            outcome => outcome?,
        }
        Ok(namespace)
    }
}

/// A new network namespace for a container, as [`begin_namespace`] makes it.
pub fn create_namespace() -> Result<OwnedFd, Error> {
    begin_namespace()?.get()
}

fn not_created(source: Errno) -> Error {
    Error::Namespace { attempt: "create", source }
}

fn raise_loopback() -> Result<(), Error> {
    let future = sysctl::of_interface6("default");
    sysctl::set(future.join("accept_ra"), "0")?;
    sysctl::set(future.join("disable_ipv6"), "1")?;
    let error = |source| Error::Link { attempt: "raise", ifname: "lo".into(), source };
    route_socket()?.execute(vec![link::up(LOOPBACK)]).map_err(error)
}

/// The index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;

/// Gives the namespace an interface on the network and publishes the endpoint's ports. The network must
/// have been ensured. An interface that a crash left behind under the same id is replaced; on failure
/// nothing is left.
pub fn attach(network: &Network, endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    let mut socket = route_socket()?;
    join(&mut socket, network, endpoint, namespace)?;
    let outcome = configure(endpoint, namespace)
        .and_then(|()| activate(&mut socket, network, endpoint))
        .and_then(|()| publish(network, endpoint));
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = detach(endpoint);
    }
    outcome
}

/// Makes the pair, with its ends in their places.
fn join(
    socket: &mut Socket,
    network: &Network,
    endpoint: &Endpoint,
    namespace: BorrowedFd<'_>,
) -> Result<(), Error> {
    let bridge = bridge::find(socket, &network.bridge.ifname)?
        .ok_or_else(|| Error::NoBridge(network.bridge.ifname.clone()))?;
    let host_name = port_name(&endpoint.id);
    let batch = pair_plan(network, endpoint, bridge.index, &host_name, namespace);
    let error = |source| Error::Link { attempt: "create interface", ifname: endpoint.ifname.clone(), source };
    match socket.execute(batch.clone()) {
        Err(refused) if refused.refusal() == Some(Errno::EXIST) => {
            bridge::delete_link(socket, "replace interface", &host_name)?;
            socket.execute(batch).map_err(error)
        }
        Err(refused) => {
            bridge::delete_link(socket, "remove interface", &host_name)?;
            Err(error(refused))
        }
        Ok(()) => Ok(()),
    }
}

fn pair_plan(
    network: &Network,
    endpoint: &Endpoint,
    bridge: u32,
    host_name: &str,
    namespace: BorrowedFd<'_>,
) -> Vec<Message> {
    let pair = Pair {
        host_name,
        bridge,
        mtu: network.bridge.mtu,
        namespace,
        name: &endpoint.ifname,
        mac: endpoint.mac,
    };
    let mut batch =
        vec![link::pair(&pair), link::port_settings(host_name, &format!("{ALIAS}{}", endpoint.id))];
    let flags = PortFlags { isolated: !network.bridge.icc, hairpin: frames_are_filtered() };
    if flags != PortFlags::default() {
        batch.push(link::port_flags(host_name, flags));
    }
    batch
}

/// Whether br_netfilter shows bridged frames to the firewall. Then a container's connection to its own
/// published port is led back to it by the bridge, not by the routing code, and the port must allow that.
/// (Isolated ports do not reach each other that way: with br_netfilter a network without icc has no
/// connections through published ports between its own endpoints.)
fn frames_are_filtered() -> bool {
    sysctl::is(Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables"), "1")
}

/// Addresses, routes and sysctls inside of the namespace.
fn configure(endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    let work = || {
        let ipv6 = endpoint.addresses.iter().any(|net| net.addr().is_ipv6());
        let settings = sysctl::of_interface6(&endpoint.ifname);
        sysctl::set(settings.join("accept_ra"), "0")?;
        sysctl::set(settings.join("disable_ipv6"), if ipv6 { "0" } else { "1" })?;
        let mut socket = route_socket()?;
        let link = bridge::find(&mut socket, &endpoint.ifname)?;
        let index = link.ok_or_else(|| Error::NoInterface(endpoint.ifname.clone()))?.index;
        let mut batch = vec![link::up(LOOPBACK)];
        batch.extend(endpoint.addresses.iter().map(|net| link::address(index, *net)));
        batch.push(link::up(index));
        batch.extend(endpoint.gateways.iter().map(|gateway| link::default_route(index, *gateway)));
        let error = |source| Error::Link { attempt: "configure", ifname: endpoint.ifname.clone(), source };
        socket.execute(batch).map_err(error)
    };
    netns::within(namespace, work).map_err(|source| Error::Namespace { attempt: "enter", source })?
}

/// Gives the namespace the endpoint's default routes: for one that takes the place of an endpoint that had them and was
/// detached.
pub fn route_out(endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    let work = || {
        let mut socket = route_socket()?;
        let link = bridge::find(&mut socket, &endpoint.ifname)?;
        let index = link.ok_or_else(|| Error::NoInterface(endpoint.ifname.clone()))?.index;
        let routes = endpoint.gateways.iter().map(|gateway| link::default_route(index, *gateway));
        let error =
            |source| Error::Link { attempt: "route through", ifname: endpoint.ifname.clone(), source };
        socket.execute(routes.collect()).map_err(error)
    };
    netns::within(namespace, work).map_err(|source| Error::Namespace { attempt: "enter", source })?
}

/// Our end got its carrier when the other came up, and the bridge got its with its first port. But neither
/// passes anything before a kernel thread has noticed, and on a busy machine that is late: the container's
/// first packet is lost, and the next comes a second after. Asking for a link makes the kernel (6.8 and
/// later) look at once.
fn activate(socket: &mut Socket, network: &Network, endpoint: &Endpoint) -> Result<(), Error> {
    bridge::find(socket, &port_name(&endpoint.id))?;
    bridge::find(socket, &network.bridge.ifname).map(drop)
}

/// Leads the endpoint's published ports to it. [`attach`] does it; alone it restores them after another
/// program flushed the firewall.
pub fn publish(network: &Network, endpoint: &Endpoint) -> Result<(), Error> {
    firewall::publish(network, endpoint)?;
    conntrack::forget(endpoint)
}

/// Cuts the endpoint off and frees its ports and addresses for others, at once: nothing leads to it any
/// more and the bridge passes nothing that it sends. What is left of the interface goes with its namespace.
/// All steps are taken also behind a failed one; what is gone already is no error.
pub fn withdraw(endpoint: &Endpoint) -> Result<(), Error> {
    let withdrawn = firewall::withdraw(endpoint);
    let forgotten = conntrack::forget(endpoint);
    silence(&port_name(&endpoint.id))?;
    withdrawn.and(forgotten)
}

fn silence(ifname: &str) -> Result<(), Error> {
    let mut socket = route_socket()?;
    let Some(link) = bridge::find(&mut socket, ifname)? else { return Ok(()) };
    match socket.execute(vec![link::disabled_port(link.index)]) {
        Err(source) if source.refusal() != Some(Errno::NODEV) => {
            Err(Error::Link { attempt: "disable interface", ifname: ifname.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Takes the endpoint off the network and its interface out of a namespace that lives on. Takes some ten
/// milliseconds; for a container that ends, [`withdraw`] is enough.
pub fn detach(endpoint: &Endpoint) -> Result<(), Error> {
    let withdrawn = firewall::withdraw(endpoint);
    let forgotten = conntrack::forget(endpoint);
    bridge::delete_link(&mut route_socket()?, "remove interface", &port_name(&endpoint.id))?;
    withdrawn.and(forgotten)
}
