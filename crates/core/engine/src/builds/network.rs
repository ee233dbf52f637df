//! The networks of `RUN` steps: an endpoint on the default (or a named) network for as long as a step needs it.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use api::containers::HostConfig;
use api::networks::EndpointSettings;
use builder::{BoxError, NetHandle, NetMode, Networks};
use network::hosts::Entry;
use network::resolv::Mode;

use super::leftovers;
use crate::containers::{etc, networking, resolv_conf};
use crate::error::{Context, Result};
use crate::lock::Lock;
use crate::{Engine, ids, lock, networks, privileges};

const PREFIX: &str = "build-";

/// Gives steps their networks.
pub(super) fn provider(engine: &Engine) -> Networks {
    let engine = engine.clone();
    std::sync::Arc::new(move |mode| give(&engine, mode).map_err(|e| Box::new(e) as BoxError))
}

fn give(engine: &Engine, mode: &NetMode) -> Result<NetHandle> {
    privileges::for_container(match mode {
        NetMode::Host | NetMode::Container(_) => privileges::Network::Shared,
        NetMode::None => privileges::Network::Empty,
        NetMode::Bridge | NetMode::Named(_) => privileges::Network::Connected,
    })?;
    let servers = if *mode == NetMode::Host { Mode::Host } else { Mode::Bridged };
    let resolv_conf = resolv_conf(&HostConfig::default(), servers)?.contents;
    let name = match mode {
        NetMode::Host => {
            return Ok(NetHandle { netns: None, resolv_conf, hosts: Vec::new(), keep: Box::new(()) });
        }
        NetMode::None => {
            let netns = Some(network::create_namespace().system()?);
            return Ok(NetHandle {
                netns,
                resolv_conf: String::new(),
                hosts: Vec::new(),
                keep: Box::new(()),
            });
        }
        NetMode::Container(other) => return of_container(engine, other),
        NetMode::Bridge => networks::DEFAULT,
        NetMode::Named(name) => name,
    };
    let record = networks::settled(engine, networks::find(engine, name)?)?;
    let Some(plan) = record.plan() else {
        return give(engine, if record.name == "host" { &NetMode::Host } else { &NetMode::None });
    };
    let owner = format!("{PREFIX}{}", ids::new()?);
    let keep = Keep { _lock: hold(engine, &owner)?, engine: engine.clone(), owner };
    let route = !plan.bridge.internal;
    let document = engine.db().write(|tx| {
        let settings = EndpointSettings::default();
        networking::allocate_one(tx, &keep.owner, &plan, &settings, "eth0".to_owned(), route)
    })?;
    let namespace = network::create_namespace().system()?;
    networking::attach(engine, &plan, &document, namespace.as_fd())?;
    // A step has no monitor to ask for names: it gets those of the moment.
    let hosts = networks::names::hosts(engine, &record.id)?;
    Ok(NetHandle { netns: Some(namespace), resolv_conf, hosts, keep: Box::new(keep) })
}

/// The network of a container, and the names that it knows.
fn of_container(engine: &Engine, other: &str) -> Result<NetHandle> {
    let joined = networking::join(engine, other)?;
    let dir = engine.container_dir(&joined.names_of);
    let resolv_conf = etc::read(&dir, "resolv.conf")?;
    let hosts = etc::read(&dir, "hosts")?;
    let hosts = network::hosts::entries(&hosts).filter(|entry| !entry.address.is_loopback());
    let lines = |entry: Entry| entry.names.into_iter().map(move |name| (name, entry.address.to_string()));
    Ok(NetHandle {
        netns: joined.namespace,
        resolv_conf,
        hosts: hosts.flat_map(lines).collect(),
        keep: Box::new(()),
    })
}

/// What a step holds; dropping it gives the endpoint back.
struct Keep {
    engine: Engine,
    owner: String,
    _lock: Lock,
}

impl Drop for Keep {
    fn drop(&mut self) {
        networking::disconnect_all(&self.engine, &self.owner);
        let _ = std::fs::remove_file(path(&self.engine, &self.owner));
    }
}

/// Where the locks are.
pub(super) fn locks(engine: &Engine) -> std::path::PathBuf {
    engine.config().run.join("builds")
}

fn path(engine: &Engine, owner: &str) -> std::path::PathBuf {
    locks(engine).join(owner)
}

fn hold(engine: &Engine, owner: &str) -> Result<Lock> {
    crate::containers::record::make_private_dir(&locks(engine))?;
    lock::removable(&path(engine, owner))
}

/// Gives the endpoints of dead steps back. Each step's lock says so; `thoroughly` the table is looked through too, for locks
/// go with the machine's uptime.
pub(super) fn forget_dead(engine: &Engine, thoroughly: bool) -> Result<()> {
    let mut owners = BTreeSet::new();
    for path in leftovers::entries(&locks(engine))? {
        owners.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    if thoroughly {
        owners.extend(engine.db().read(state::endpoints::list)?.into_iter().map(|row| row.container));
    }
    owners.retain(|owner| owner.starts_with(PREFIX));
    for owner in owners {
        let path = path(engine, &owner);
        let disconnect = || {
            networking::disconnect_all(engine, &owner);
            Ok(())
        };
        if path.exists() {
            lock::remove_if_free(&path, disconnect)?;
        } else if thoroughly {
            disconnect()?;
        }
    }
    Ok(())
}

/// Whether this owner of endpoints is a build step that goes on.
pub(crate) fn is_alive(engine: &Engine, owner: &str) -> Result<bool> {
    if !owner.starts_with(PREFIX) {
        return Ok(false);
    }
    lock::is_held(&path(engine, owner))
}
