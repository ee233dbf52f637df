//! `docker network connect`.

use std::os::fd::AsFd;

use api::networks::{ConnectRequest, EndpointSettings};

use super::{Record, endpoints_of, find, names, settled};
use crate::Engine;
use crate::containers::{networking, record, start, validate};
use crate::error::{Context, Error, Result};

/// Adds a network to a container's definition and, if it runs, an interface to it.
pub async fn connect(engine: &Engine, reference: &str, request: ConnectRequest) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let network = find(engine, &reference)?;
            let found = record::find(engine, &request.container)?;
            let (_lock, record) = record::locked(engine, &found.id)?;
            connect_locked(engine, &network, record, request.endpoint_config.unwrap_or_default())
        })
        .await
}

fn connect_locked(
    engine: &Engine,
    network: &Record,
    mut record: record::Record,
    mut settings: EndpointSettings,
) -> Result<()> {
    let mode = record.document.host_config.network_mode.clone();
    if mode.starts_with("container:") {
        return Err(Error::forbidden(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        ));
    }
    if mode == "host" || network.name == "host" {
        return Err(Error::forbidden(
            "container cannot be connected to host network or disconnected from it",
        ));
    }
    if network.name == "none" {
        return Err(Error::forbidden(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ));
    }
    if record.document.networks.contains_key(&network.name) {
        return Err(Error::forbidden(format!(
            "endpoint with name {} already exists in network {}",
            record.name, network.name
        )));
    }
    if network.is_predefined() && !settings.aliases.is_empty() {
        return Err(Error::invalid(format!(
            "invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks: {}",
            network.name
        )));
    }
    validate::check_endpoint(&network.name, &settings)?;
    // What only reports must not be taken as asked for.
    settings.network_id = network.id.clone();
    settings.endpoint_id.clear();
    let was_none = mode == "none";
    if was_none {
        record.document.networks.remove("none");
        record.document.host_config.network_mode = network.name.clone();
    }
    record.document.networks.insert(network.name.clone(), settings.clone());
    let status = record::observe(engine, &record.id)?.status;
    let asks_already = names::are_resolved(engine, &endpoints_of(engine, &record.id)?)?;
    if status.pid != 0 {
        attach_running(engine, network, &record, &settings, status.pid)?;
    }
    record::save(engine, &record)?;
    if status.pid != 0 {
        names::publish_of(engine, &record.id, &[])?;
        if let Some(dns) = networking::write_names(engine, &record)?.filter(|_| !asks_already) {
            serve_names(engine, &record, &dns, status.pid)?;
        }
        if let Some(plan) = network.plan() {
            networking::announce(engine, &plan, &record.id, "connect");
        }
    }
    Ok(())
}

fn attach_running(
    engine: &Engine,
    network: &Record,
    record: &record::Record,
    settings: &EndpointSettings,
    pid: i32,
) -> Result<()> {
    let Some(plan) = settled(engine, network.clone())?.plan() else { return Ok(()) };
    let namespace = namespace(pid)?;
    let present = endpoints_of(engine, &record.id)?;
    let free = |n: &usize| present.iter().all(|e| e.document.endpoint.ifname != format!("eth{n}"));
    let ifname = format!("eth{}", (0..).find(free).unwrap_or(0));
    let routed = present.iter().any(|e| !e.document.endpoint.gateways.is_empty());
    let document = engine.db().write(|tx| {
        networking::allocate_one(tx, &record.id, &plan, settings, ifname, !routed && !plan.bridge.internal)
    })?;
    networking::attach(engine, &plan, &document, namespace.as_fd()).inspect_err(|_| {
        if let Err(e) = engine.db().write(|tx| state::endpoints::delete(tx, &document.endpoint.id)) {
            tracing::warn!(error = %crate::error::chain(&e), "endpoint not forgotten");
        }
    })
}

/// Has the monitor answer, now that the container is in the first network that has names.
fn serve_names(engine: &Engine, record: &record::Record, dns: &dns::Config, pid: i32) -> Result<()> {
    let sockets = network::names::listen(namespace(pid)?.as_fd()).system()?;
    start::running(engine, record)?.names(dns, [sockets.udp.as_fd(), sockets.tcp.as_fd()])?;
    Ok(())
}

fn namespace(pid: i32) -> Result<std::fs::File> {
    let path = format!("/proc/{pid}/ns/net");
    std::fs::File::open(&path).during(format_args!("open {path}"))
}
