//! A container's place in networks: taken when it starts or is connected, given back when it ends.
//!
//! Addresses are allocated and recorded in one transaction; host ports are bound by sockets that the monitor holds;
//! then the kernel is brought into the recorded state, which ends with the machine's uptime as the record may. Kernel objects are named from the endpoint's id, so that giving
//! back needs only the record.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use api::networks::EndpointSettings;
use ipnet::IpNet;
use network::hosts::Entry;
use network::names::ADDRESS;
use network::resolv::Mode;
use network::{ComingNamespace, Mac, ipam, ports as host_ports};

use super::record::{self, Record};
use super::{etc, ports};
use crate::error::{Context, Error, Kind, Result, chain};
use crate::networks::{self, EndpointDocument, EndpointRecord, names};
use crate::undo::Undo;
use crate::{Engine, ids, spec};

/// What a start needs to know about the network, and what it must hold.
pub(crate) struct Connected {
    /// Which network namespace.
    pub network: spec::Network,
    /// Its descriptor; `None` for the machine's.
    pub namespace: Option<OwnedFd>,
    /// How the monitor answers questions for names, if there is a network that has them.
    pub dns: Option<dns::Config>,
    /// The two sockets of `dns`, then bound sockets of published ports.
    pub held: Vec<OwnedFd>,
    /// The container whose `/etc` files apply.
    pub names_of: String,
}

/// Begins to make the container's network namespace, if it gets one of its own.
pub(crate) fn begin(record: &Record) -> Result<Option<ComingNamespace>> {
    let mode = record.document.host_config.network_mode.as_str();
    let own = mode != "host" && !mode.starts_with("container:");
    own.then(network::begin_namespace).transpose().system()
}

/// Brings up the network of a container that is about to start, and writes its `/etc` files. `namespace` is from [`begin`].
pub(crate) fn connect(
    engine: &Engine,
    record: &Record,
    namespace: Option<ComingNamespace>,
    undo: &mut Undo,
) -> Result<Connected> {
    let mode = record.document.host_config.network_mode.as_str();
    let own = |network, namespace| Connected {
        network,
        namespace,
        dns: None,
        held: Vec::new(),
        names_of: record.id.clone(),
    };
    if let Some(other) = mode.strip_prefix("container:") {
        return join(engine, other);
    }
    let Some(namespace) = namespace else {
        write_names_of_host(engine, record)?;
        return Ok(own(spec::Network::Host, None));
    };
    forget_endpoints(engine, &record.id)?;
    let planned = allocate(engine, record)?;
    let (engine_again, id) = (engine.clone(), record.id.clone());
    undo.push(move || disconnect_all(&engine_again, &id));
    let (planned, reserved) = publish(engine, record, planned)?;
    let namespace = namespace.get().system()?;
    for (network, document) in &planned {
        attach(engine, network, document, namespace.as_fd())?;
    }
    let mut held = Vec::new();
    let dns = write_names(engine, record)?;
    if dns.is_some() {
        let sockets = network::names::listen(namespace.as_fd()).system()?;
        held.extend([sockets.udp, sockets.tcp]);
        names::publish_of(engine, &record.id, &[])?;
    }
    held.extend(reserved);
    for (network, document) in &planned {
        announce(engine, network, &record.id, "connect");
        tracing::debug!(network = network.name, endpoint = ids::short(&document.endpoint.id), "connected");
    }
    Ok(Connected { dns, held, ..own(spec::Network::Own, Some(namespace)) })
}

/// Reports an endpoint's coming or going.
pub(crate) fn announce(engine: &Engine, network: &network::Network, container: &str, action: &str) {
    let attributes = BTreeMap::from([
        ("container".to_owned(), container.to_owned()),
        ("name".to_owned(), network.name.clone()),
        ("type".to_owned(), "bridge".to_owned()),
    ]);
    crate::events::emit(engine, "network", action, &network.id, &attributes);
}

/// The namespace of another container, which must run.
pub(crate) fn join(engine: &Engine, other: &str) -> Result<Connected> {
    let other = record::find(engine, other)?;
    let status = record::observe(engine, &other.id)?.status;
    if status.pid == 0 {
        return Err(Error::conflict(format!("cannot join network of a non running container: {}", other.id)));
    }
    let host = other.document.host_config.network_mode == "host";
    let path = format!("/proc/{}/ns/net", status.pid);
    let namespace = std::fs::File::open(&path).during(format_args!("open {path}"))?;
    Ok(Connected {
        network: if host { spec::Network::Host } else { spec::Network::Joined },
        namespace: (!host).then(|| namespace.into()),
        dns: None,
        held: Vec::new(),
        names_of: other.id,
    })
}

/// The networks of a container in the order of its interfaces: the one of its network mode first, then by name.
fn ordered(record: &Record) -> Vec<(&String, &EndpointSettings)> {
    let first = &record.document.host_config.network_mode;
    let mut list: Vec<_> = record.document.networks.iter().collect();
    list.sort_by_key(|(name, _)| (*name != first, name.as_str()));
    list
}

type Planned = Vec<(network::Network, EndpointDocument)>;

/// Chooses and records addresses in all networks of a container, in one transaction.
fn allocate(engine: &Engine, record: &Record) -> Result<Planned> {
    let mut networks = Vec::new();
    for (name, settings) in ordered(record) {
        if let Some(plan) = networks::settled(engine, networks::find(engine, name)?)?.plan() {
            networks.push((plan, settings.clone()));
        }
    }
    if networks.is_empty() {
        return Ok(Vec::new());
    }
    let default_route = networks
        .iter()
        .enumerate()
        .filter(|(_, (network, _))| !network.bridge.internal)
        .max_by_key(|(index, (_, settings))| (settings.gw_priority, std::cmp::Reverse(*index)))
        .map(|(index, _)| index);
    engine.db().write_fleeting(|tx| -> Result<Planned> {
        let mut planned = Vec::new();
        for (index, (network, settings)) in networks.iter().enumerate() {
            let ifname = format!("eth{index}");
            let document =
                allocate_one(tx, &record.id, network, settings, ifname, default_route == Some(index))?;
            planned.push((network.clone(), document));
        }
        Ok(planned)
    })
}

/// Chooses and records the addresses of one endpoint.
pub(crate) fn allocate_one(
    tx: &state::Tx<'_>,
    container: &str,
    network: &network::Network,
    settings: &EndpointSettings,
    ifname: String,
    default_route: bool,
) -> Result<EndpointDocument> {
    let used = networks::used(tx, &network.id)?;
    let asked = settings.ipam_config.clone().unwrap_or_default();
    let (mut addresses, mut gateways) = (Vec::new(), Vec::new());
    for subnet in &network.bridge.subnets {
        let text = if subnet.net.addr().is_ipv4() { &asked.ipv4_address } else { &asked.ipv6_address };
        let wanted = match text.as_str() {
            "" => None,
            text => Some(
                text.parse::<IpAddr>().map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?,
            ),
        };
        let ip = ipam::allocate(subnet, &used, wanted).map_err(|e| Error::forbidden(e.to_string()))?;
        let net = IpNet::new(ip, subnet.net.prefix_len()).system()?;
        addresses.push(net);
        if default_route {
            gateways.push(subnet.gateway);
        }
    }
    let first = addresses.first().map(IpNet::addr);
    let mac = match wanted_mac(&settings.mac_address)? {
        None => first
            .map(Mac::of_ip)
            .ok_or_else(|| Error::system(format!("network {} has no subnet", network.name)))?,
        Some(mac) => mac,
    };
    let endpoint =
        network::Endpoint { id: ids::kin(&network.id)?, ifname, addresses, mac, gateways, ports: Vec::new() };
    let document = EndpointDocument { endpoint, settings: settings.clone() };
    let ip = |v6| networks::address(&document.endpoint, v6).map(|a| a.addr().to_string());
    let row = state::endpoints::Endpoint {
        id: document.endpoint.id.clone(),
        network: network.id.clone(),
        container: container.to_owned(),
        ipv4: ip(false),
        ipv6: ip(true),
        document: encode(&document)?,
    };
    state::endpoints::insert(tx, &row)?;
    Ok(document)
}

fn encode(document: &EndpointDocument) -> Result<String> {
    serde_json::to_string(document).during("write an endpoint's record")
}

/// Binds the published ports and records them with the endpoint that has the default route (or the first one).
fn publish(engine: &Engine, record: &Record, mut planned: Planned) -> Result<(Planned, Vec<OwnedFd>)> {
    let host = &record.document.host_config;
    let Some(index) = planned
        .iter()
        .position(|(_, d)| !d.endpoint.gateways.is_empty())
        .or_else(|| (!planned.is_empty()).then_some(0))
    else {
        return Ok((planned, Vec::new()));
    };
    let (network, document) = &mut planned[index];
    let ipv6 = networks::address(&document.endpoint, true).is_some();
    let config = &record.document.config;
    let requests = ports::requests(&host.port_bindings, &config.exposed_ports, host.publish_all_ports, ipv6)?;
    if requests.is_empty() || network.bridge.internal {
        return Ok((planned, Vec::new()));
    }
    let endpoint = format!("endpoint {} ({})", record.name, document.endpoint.id);
    let refused = |reason: &dyn std::fmt::Display| {
        Error::system(format!("driver failed programming external connectivity on {endpoint}: {reason}"))
    };
    if let Some((reason, hint)) = requests.iter().find_map(|request| unreachable(request, ipv6)) {
        return Err(refused(&reason).with_hint(hint));
    }
    let failed = |e: host_ports::Error| {
        let error = refused(&chain(&e));
        match e.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    };
    if requests.len() > MANY {
        sys::daemon::raise_files().during("raise the limit of open files")?;
    }
    let mut held = Vec::new();
    let mut maps = Vec::new();
    for request in &requests {
        let reservation = host_ports::reserve(&both_families(request, &maps)).map_err(failed)?;
        maps.push(reservation.map);
        held.push(reservation.socket);
    }
    document.endpoint.ports = maps;
    let (id, text) = (document.endpoint.id.clone(), encode(document)?);
    engine.db().write_fleeting(|tx| state::endpoints::set_document(tx, &id, &text))?;
    Ok((planned, held))
}

/// From so many ports on this process may need more descriptors than it is given by default.
const MANY: usize = 256;

/// Why nobody would reach a port that is published so, and what to do: the kernel leads packets from address to address of
/// one family, and none from `::1` out of the machine's own loopback.
fn unreachable(request: &host_ports::Request, ipv6: bool) -> Option<(String, String)> {
    let IpAddr::V6(address) = request.host_ip else { return None };
    let published = format!("cannot publish [{address}]:{}", request.host_ports.start());
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some((format!("{published}: this is an IPv4 address"), format!("publish on {mapped}")));
    }
    if address.is_loopback() {
        let reason = format!("{published}: the kernel leads nothing from ::1 to a container");
        return Some((reason, "publish on 127.0.0.1, or on an address of an interface".to_owned()));
    }
    (!ipv6).then(|| {
        let reason = format!("{published}: the container has no IPv6 address");
        (reason, "put it on a network that was created with --ipv6".to_owned())
    })
}

/// A port that the kernel chose for IPv4 is asked for by number for IPv6, so that one number serves both.
fn both_families(request: &host_ports::Request, done: &[network::PortMap]) -> host_ports::Request {
    let twin = done.iter().find(|map| {
        map.container_port == request.container_port
            && map.protocol == request.protocol
            && map.host_ip.is_unspecified()
            && map.host_ip.is_ipv4()
    });
    match twin {
        Some(map) if request.host_ip.is_unspecified() && request.host_ip.is_ipv6() => {
            host_ports::Request { host_ports: map.host_port..=map.host_port, ..request.clone() }
        }
        _ => request.clone(),
    }
}

/// Brings one recorded endpoint into the kernel.
pub(crate) fn attach(
    engine: &Engine,
    network: &network::Network,
    document: &EndpointDocument,
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    let failed = |e: network::Error| {
        let error = Error::from_chain(&e).within(format_args!("connect to network {}", network.name));
        match e.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    };
    network::ensure_network(network, &engine.config().root).map_err(failed)?;
    network::attach(network, &document.endpoint, namespace).map_err(failed)
}

/// Takes a container that has ended off all its networks; its interfaces go with their namespace. Every step is taken,
/// also behind a failed one, and logged if it fails.
pub(crate) fn disconnect_all(engine: &Engine, container: &str) {
    let endpoints = match networks::endpoints_of(engine, container) {
        Ok(endpoints) if endpoints.is_empty() => return,
        Ok(endpoints) => endpoints,
        Err(e) => {
            tracing::warn!(error = %e, container, "endpoints not read");
            Vec::new()
        }
    };
    for record in &endpoints {
        // The namespace ends with the container and takes the interface along, off this path.
        let endpoint = &record.document.endpoint;
        if let Err(e) = network::withdraw(endpoint) {
            tracing::warn!(error = %chain(&e), endpoint = endpoint.id, "endpoint not withdrawn");
        }
        if let Ok(network) = networks::find(engine, &record.network)
            && let Some(plan) = network.plan()
        {
            announce(engine, &plan, container, "disconnect");
        }
    }
    if let Err(e) = engine.db().write_fleeting(|tx| state::endpoints::delete_of_container(tx, container)) {
        tracing::warn!(error = %chain(&e), container, "endpoints not forgotten");
    }
    if let Err(e) = names::publish_of(engine, container, &endpoints) {
        tracing::warn!(error = %e, container, "names not withdrawn");
    }
}

/// Takes the interface of an endpoint out of a container that lives on.
pub(crate) fn detach(record: &EndpointRecord) {
    if let Err(e) = network::detach(&record.document.endpoint) {
        tracing::warn!(error = %chain(&e), endpoint = record.document.endpoint.id, "endpoint not detached");
    }
}

/// Gives a running container that lost its way out another one: through the network of the highest priority, of those
/// that are not internal the one with the first interface.
pub(crate) fn reroute(engine: &Engine, container: &str) -> Result<()> {
    let mut candidates = Vec::new();
    for endpoint in networks::endpoints_of(engine, container)? {
        let network = networks::find(engine, &endpoint.network)?;
        if let Some(plan) = network.plan().filter(|plan| !plan.bridge.internal) {
            candidates.push((endpoint.document, plan));
        }
    }
    let order = |d: &EndpointDocument| {
        let number: u32 = d.endpoint.ifname.trim_start_matches("eth").parse().unwrap_or(u32::MAX);
        (d.settings.gw_priority, std::cmp::Reverse(number))
    };
    let Some((mut document, plan)) = candidates.into_iter().max_by_key(|(d, _)| order(d)) else {
        return Ok(());
    };
    let pid = record::observe(engine, container)?.status.pid;
    if pid == 0 || !document.endpoint.gateways.is_empty() {
        return Ok(());
    }
    document.endpoint.gateways = plan.bridge.subnets.iter().map(|s| s.gateway).collect();
    let path = format!("/proc/{pid}/ns/net");
    let namespace = std::fs::File::open(&path).during(format_args!("open {path}"))?;
    network::route_out(&document.endpoint, namespace.as_fd()).system()?;
    let text = encode(&document)?;
    Ok(engine.db().write_fleeting(|tx| state::endpoints::set_document(tx, &document.endpoint.id, &text))?)
}

/// Endpoints that a crash left behind.
fn forget_endpoints(engine: &Engine, container: &str) -> Result<()> {
    if !networks::endpoints_of(engine, container)?.is_empty() {
        disconnect_all(engine, container);
    }
    Ok(())
}

/// Writes `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container with its own network. Gives how the monitor
/// is to answer for names, if the last of these says that it does.
pub(crate) fn write_names(engine: &Engine, record: &Record) -> Result<Option<dns::Config>> {
    let dir = engine.container_dir(&record.id);
    let host = &record.document.host_config;
    let endpoints = networks::endpoints_of(engine, &record.id)?;
    let gateway = default_gateway(engine)?;
    let mut extra = etc::extra_hosts(&host.extra_hosts, gateway)?;
    extra.extend(links(engine, record)?);
    let name = record.hostname();
    let domain = &record.document.config.domainname;
    let full = if domain.is_empty() { name.to_owned() } else { format!("{name}.{domain}") };
    let first = full.split_once('.').map(|(first, _)| first.to_owned());
    let names: Vec<String> = std::iter::once(full).chain(first).collect();
    let own: Vec<Entry> = endpoints
        .iter()
        .flat_map(|e| &e.document.endpoint.addresses)
        .map(|a| Entry { address: a.addr(), names: names.clone() })
        .collect();
    etc::write(&dir, "hosts", &network::hosts::hosts(&extra, &own))?;
    etc::write(&dir, "hostname", &format!("{name}\n"))?;
    let embedded = names::are_resolved(engine, &endpoints)?;
    let mode = if embedded { Mode::Embedded(ADDRESS.into()) } else { Mode::Bridged };
    let resolv = etc::resolv_conf(host, mode)?;
    etc::write(&dir, "resolv.conf", &resolv.contents)?;
    Ok(embedded.then(|| dns::Config {
        dir: names::dir(engine),
        container: record.id.clone(),
        upstreams: upstreams(&resolv.upstreams, !host.dns.is_empty()),
    }))
}

/// Who is asked about names that are no container's. A loopback address that the user `asked` for means the container's own.
fn upstreams(servers: &[IpAddr], asked: bool) -> Vec<dns::Upstream> {
    const PORT: u16 = 53;
    let reachable = servers.iter().filter(|server| !asked || **server != IpAddr::V4(ADDRESS));
    let upstream = |server: &IpAddr| dns::Upstream {
        address: (*server, PORT).into(),
        inside: asked && server.is_loopback(),
    };
    reachable.map(upstream).collect()
}

fn write_names_of_host(engine: &Engine, record: &Record) -> Result<()> {
    let dir = engine.container_dir(&record.id);
    let host = &record.document.host_config;
    let extra = etc::extra_hosts(&host.extra_hosts, Some(IpAddr::from([127, 0, 0, 1])))?;
    let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    etc::write(&dir, "hosts", &etc::hosts_of_host(&own, &extra))?;
    etc::write(&dir, "hostname", &format!("{}\n", record.hostname()))?;
    etc::write(&dir, "resolv.conf", &etc::resolv_conf(host, Mode::Host)?.contents)
}

/// What `host-gateway` stands for: the default network's gateway.
pub(crate) fn default_gateway(engine: &Engine) -> Result<Option<IpAddr>> {
    match networks::find(engine, networks::DEFAULT) {
        Ok(network) => Ok(network.document.bridge.and_then(|b| b.subnets.first().map(|s| s.gateway))),
        // There is none yet, and hardly anybody asks for its gateway.
        Err(e) if e.kind == Kind::Unavailable => Ok(None),
        Err(e) => Err(e),
    }
}

/// `--link name:alias`: the other container's address under its alias, name and host name. Links of an endpoint may
/// name a container that is yet to come; those of the container itself may not.
fn links(engine: &Engine, record: &Record) -> Result<Vec<Entry>> {
    let own = record.document.host_config.links.iter().map(|link| linked(engine, record, link));
    let mut entries = own.collect::<Result<Vec<Entry>>>()?;
    let of_endpoints = record.document.networks.values().flat_map(|s| &s.links);
    entries.extend(of_endpoints.filter_map(|link| linked(engine, record, link).ok()));
    Ok(entries)
}

fn linked(engine: &Engine, record: &Record, link: &str) -> Result<Entry> {
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    let other = record::find(engine, name)
        .map_err(|e| e.within(format_args!("could not get container for {name}")))?;
    let endpoints = networks::endpoints_of(engine, &other.id)?;
    let Some(address) = endpoints.iter().flat_map(|e| &e.document.endpoint.addresses).next() else {
        return Err(Error::invalid(format!(
            "Cannot link to a non running container: /{} AS /{}/{alias}",
            other.name, record.name
        )));
    };
    let mut names = vec![alias.to_owned()];
    for name in [other.hostname(), &other.name] {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    Ok(Entry { address: address.addr(), names })
}

/// The address of the link layer that settings ask for, if they do.
pub(crate) fn wanted_mac(text: &str) -> Result<Option<Mac>> {
    if text.is_empty() {
        return Ok(None);
    }
    let mac = text.parse::<Mac>().ok().filter(|mac| mac.is_unicast());
    mac.map(Some).ok_or_else(|| Error::invalid(format!("invalid MAC address: {text}")))
}
