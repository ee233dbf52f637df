//! What is ours on this machine, for `system check`: a caller compares it with its records and removes what
//! nobody owns.

use crate::bridge::{self, route_socket};
use crate::error::Error;
use crate::firewall::{self, PublishedPort};
use crate::link::{self, Link};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::path::Path;
use sys::netlink::Socket;

/// Everything of ours in the calling thread's network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub bridges: Vec<FoundLink>,
    /// The host's ends of endpoints.
    pub ports: Vec<FoundLink>,
    pub published: Vec<PublishedPort>,
    /// Networks that the firewall knows: (bridge interface, network id).
    pub firewall_networks: Vec<(String, String)>,
}

/// An interface of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLink {
    pub ifname: String,
    /// Of the network or the endpoint that it was made for.
    pub id: String,
}

/// Lists what is there.
pub fn survey() -> Result<Survey, Error> {
    let links = links(&mut route_socket()?)?;
    let mut survey = Survey {
        published: firewall::published_ports()?,
        firewall_networks: firewall::network_bridges()?,
        ..Survey::default()
    };
    for link in links {
        let Some((id, _)) = bridge::owner(&link) else { continue };
        let id = id.to_owned();
        let found = FoundLink { ifname: link.name, id };
        if link.kind == "bridge" { survey.bridges.push(found) } else { survey.ports.push(found) }
    }
    Ok(survey)
}

/// Refuses the name of an interface that is there and cannot be a network's bridge.
pub fn check_interface(name: &str) -> Result<(), Error> {
    match bridge::find(&mut route_socket()?, name)? {
        Some(link) if link.kind != "bridge" => Err(Error::NotABridge(name.to_owned())),
        _ => Ok(()),
    }
}

/// Removes everything that belongs to a network or an endpoint, by its id alone.
pub fn remove_orphan(id: &str) -> Result<(), Error> {
    let found = survey()?;
    let mut socket = route_socket()?;
    for link in found.ports.iter().chain(&found.bridges).filter(|link| link.id == id) {
        bridge::delete_link(&mut socket, "remove interface", &link.ifname)?;
    }
    firewall::remove(id)
}

/// Takes away the bridges, and the subnets with them, of roots that are no more: somebody has removed them without their networks, and
/// nothing is attached there. How many went.
pub fn remove_abandoned() -> Result<usize, Error> {
    // What can't be looked at may be there.
    remove_idle(|_, root| !root.try_exists().unwrap_or(true))
}

/// Takes away those of a root that knows only the networks with these ids: they are of one that was at the same place before.
pub fn remove_unknown(root: &Path, known: &BTreeSet<String>) -> Result<usize, Error> {
    remove_idle(|id, of| of == root && !known.contains(id))
}

/// Removes bridges by the network and the root that they say they are of, unless something is attached.
fn remove_idle(is_dead: impl Fn(&str, &Path) -> bool) -> Result<usize, Error> {
    let mut socket = route_socket()?;
    let links = links(&mut socket)?;
    let mut count = 0;
    for bridge in links.iter().filter(|link| link.kind == "bridge") {
        let Some((id, Some(root))) = bridge::owner(bridge) else { continue };
        let is_used = links.iter().any(|link| link.master == Some(bridge.index));
        if is_used || !is_dead(id, root) {
            continue;
        }
        firewall::remove(id)?;
        bridge::delete_link(&mut socket, "remove bridge", &bridge.name)?;
        count += 1;
    }
    Ok(count)
}

/// The MTU of the interface that this machine's default route leaves by; `None` when it has none.
pub fn uplink_mtu() -> Result<Option<u32>, Error> {
    let mut socket = route_socket()?;
    let routes = socket.dump(&link::all_routes()).map_err(|source| Error::List("routes", source))?;
    let Some(index) = routes.iter().find_map(link::parse_default_route) else { return Ok(None) };
    Ok(links(&mut socket)?.into_iter().find(|link| link.index == index).map(|link| link.mtu))
}

fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let listed = socket.dump(&link::all_links()).map_err(|source| Error::List("links", source))?;
    Ok(listed.iter().filter_map(link::parse_link).collect())
}

/// Where this machine's routes lead to, without the default route: what a new subnet must not overlap.
pub fn host_routes() -> Result<Vec<IpNet>, Error> {
    let listed = route_socket()?.dump(&link::all_routes()).map_err(|source| Error::List("routes", source))?;
    Ok(listed.iter().filter_map(link::parse_route).collect())
}
