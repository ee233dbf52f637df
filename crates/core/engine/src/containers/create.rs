//! `docker create`, the first half of `docker run`.

use api::containers::{Config, CreateRequest, CreateResponse, HostConfig, LogConfig};
use api::networks::{EndpointSettings, NetworkingConfig};
use oci::Platform;

use super::record::{self, Document, Record, make_private_dir};
use super::{bind, limits, merge, mounts, name, networking, ports, validate};
use crate::error::{Context, Error, Kind, Result};
use crate::images::heal;
use crate::lock::Lock;
use crate::undo::Undo;
use crate::{Engine, events, ids, images, lock, machine, networks, volumes};

/// What a machine without control groups, or one that lets none be made, means for a container.
const NO_GROUPS: &str = "no control groups can be made here (/sys/fs/cgroup is not mounted, or read-only): the container has \
    no limits, and stats, pause and update are not available";

/// Defines a container. Nothing runs yet; the image must be here (`No such image: …` makes a client pull it).
pub async fn create(
    engine: &Engine,
    name: &str,
    platform: &str,
    request: CreateRequest,
) -> Result<CreateResponse> {
    let (name, platform) = (name.to_owned(), platform.to_owned());
    let (image, wish) = (request.config.image.clone(), platform.parse().ok());
    let (first, again) = (name.clone(), request.clone());
    let asked = platform.clone();
    let failed = match engine.brief(move |engine| create_now(engine, &first, &asked, request)).await {
        Err(error) if error.kind == Kind::System => error,
        done => return done,
    };
    let Some(healed) = heal::named(engine, &image, wish).await? else { return Err(failed) };
    let mut made = engine.brief(move |engine| create_now(engine, &name, &platform, again)).await?;
    made.warnings.push(healed);
    Ok(made)
}

fn create_now(
    engine: &Engine,
    wanted_name: &str,
    platform: &str,
    request: CreateRequest,
) -> Result<CreateResponse> {
    let wanted_name = if wanted_name.is_empty() { None } else { Some(name::validated(wanted_name)?) };
    if let Some(name) = wanted_name {
        // Before anything is made for nothing; the insertion looks again.
        engine.db().read(|tx| name_is_free(tx, name))?;
    }
    let platform = match platform {
        "" => None,
        text => Some(text.parse::<Platform>().map_err(|e| Error::invalid(e.to_string()))?),
    };
    let mut config = request.config;
    let mut host = request.host_config.unwrap_or_default();
    if config.image.is_empty() {
        return Err(Error::invalid("config.Image is required: no image specified"));
    }
    validate::check_request(&config, &host)?;
    let id = engine.new_id()?;
    engine.spawn_spare(&id);
    let image = engine.store().resolve(&config.image, platform.as_ref())?;
    engine.store().touch(&image.id);
    images::admit(engine, &config.image, &image)?;
    merge::merge(&mut config, &merge::tolerable(&image.config.config));
    let foreign = check_platform(&image.config.platform(), platform.is_some())?;
    let machine = machine::facts();
    validate::check(&config, &host, machine.limits())?;
    let mut warnings = fill_defaults(&config, &mut host, &machine);
    if limits::are_asked(&host.resources) {
        warnings.extend(limits::discard(&mut host.resources, &runtime::cgroup::Controllers::available())?);
    }
    if !runtime::cgroup::Cgroup::new("/dhow").system()?.is_mounted() {
        warnings.push(NO_GROUPS.to_owned());
    }
    warnings.extend(limits::unreachable(&host));
    warnings.extend(foreign);
    let networks = wanted_networks(&mut config, &host, request.networking_config.unwrap_or_default())?;
    fill_config(&mut config, &host, &id)?;

    let resolved = mounts::resolve(engine, &config, &host)?;
    let layer = image.chain();
    let mut undo = Undo::default();
    let _lock = make_directories(engine, &id, &mut undo)?;
    let made = mounts::make_anonymous(engine, &id, &resolved)?;
    if resolved.iter().any(|r| r.copy_up) && layer.is_some() {
        let lower = engine.store().overlay(layer.as_ref(), None, None)?.mount().during("mount the image")?;
        let root = sys::root::Root::from_fd(lower).during("open the image's root")?;
        mounts::copy_up(engine, &root, &resolved)?;
    }
    let record = Record {
        id: id.clone(),
        name: wanted_name.unwrap_or_default().to_owned(),
        created: networks::now(),
        image: config.image.clone(),
        image_id: Some(image.id.clone()),
        layer,
        document: Document {
            config,
            host_config: host,
            networks,
            mounts: resolved.into_iter().map(|r| r.mount).collect(),
        },
    };
    let record = insert(engine, record, &made, wanted_name.is_none())?;
    undo.keep();
    made.into_iter().for_each(volumes::Provisional::keep);
    events::emit_container(engine, "create", &record, &[]);
    Ok(CreateResponse { id, warnings })
}

/// Refuses an image of another system; gives a warning for one of another architecture that nobody has `asked` for.
fn check_platform(image: &Platform, asked: bool) -> Result<Option<String>> {
    let host = Platform::host();
    if !image.os.is_empty() && image.normalized().os != host.os {
        return Err(Error::invalid(format!(
            "image operating system \"{}\" cannot be used on this platform",
            image.os
        )));
    }
    // These processors run the programs of their elders.
    let elder = matches!(
        (host.architecture.as_str(), image.normalized().architecture.as_str()),
        ("amd64", "386") | ("arm64", "arm")
    );
    let fits = asked || image.architecture.is_empty() || elder || host.matches(image);
    Ok((!fits).then(|| {
        format!(
            "The requested image's platform ({image}) does not match the detected host platform ({host}) and no specific \
             platform was requested"
        )
    }))
}

/// Fails if another container has the name.
pub(super) fn name_is_free(tx: &state::Tx<'_>, name: &str) -> Result<()> {
    match state::containers::by_name(tx, name)? {
        None => Ok(()),
        Some(other) => Err(Error::conflict(format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or \
             rename) that container to be able to reuse that name.",
            other.id
        ))),
    }
}

/// Records the container under its name, or under a made-up one that is free, with the volumes made for it.
fn insert(
    engine: &Engine,
    mut record: Record,
    made: &[volumes::Provisional],
    made_up: bool,
) -> Result<Record> {
    let document = record::encode(&record.document)?;
    let volumes: Vec<String> =
        record.document.mounts.iter().filter(|m| !m.name.is_empty()).map(|m| m.name.clone()).collect();
    engine.db().write_for(record.life(), |tx| -> Result<()> {
        if made_up {
            record.name = free_name(tx)?;
        } else {
            name_is_free(tx, &record.name)?;
        }
        // The image may have been removed since it was looked up: its layers would be garbage.
        if let Some(id) = &record.image_id
            && state::images::by_id(tx, id)?.is_empty()
        {
            return Err(Error::not_found(format!("No such image: {}", record.image)));
        }
        let row = state::containers::Container {
            id: record.id.clone(),
            name: record.name.clone(),
            created: record.created,
            image: record.image.clone(),
            image_id: record.image_id.clone(),
            layer: record.layer.clone(),
            document: document.clone(),
        };
        for volume in made {
            state::volumes::insert(tx, volume.row())?;
        }
        Ok(state::containers::insert(tx, &row, &volumes)?)
    })?;
    Ok(record)
}

fn free_name(tx: &state::Tx<'_>) -> Result<String> {
    for attempt in 0..64 {
        let name = name::random(attempt / 8);
        match name_is_free(tx, &name) {
            Ok(()) => return Ok(name),
            Err(e) if e.kind == Kind::Conflict => {}
            Err(e) => return Err(e),
        }
    }
    Err(Error::unavailable("no free container name found"))
}

/// Makes the container's directories. Until the lock is given up they are nobody's leftovers, although no definition
/// names them.
fn make_directories(engine: &Engine, id: &str, undo: &mut Undo) -> Result<Lock> {
    let (dir, run) = (engine.container_dir(id), engine.container_run_dir(id));
    let (undo_dir, undo_run) = (dir.clone(), run.clone());
    undo.push(move || {
        for path in [undo_dir, undo_run] {
            let _ = std::fs::remove_dir_all(path);
        }
    });
    make_private_dir(&run)?;
    let lock = lock::exclusive(&run.join("lock"))?;
    make_private_dir(&dir)?;
    for name in ["upper", "work"] {
        make_private_dir(&dir.join(name))?;
    }
    // The upper directory's own mode is that of the container's root directory.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.join("upper"), std::fs::Permissions::from_mode(0o755))
        .during("set the mode of the container's root directory")?;
    Ok(lock)
}

/// Fills in what Docker fills in, so that `inspect` shows what applies. Returns warnings for the user.
fn fill_defaults(config: &Config, host: &mut HostConfig, machine: &machine::Facts) -> Vec<String> {
    let or = |value: &mut String, default: &str| {
        if value.is_empty() {
            default.clone_into(value);
        }
    };
    if host.network_mode == "default" || host.network_mode.is_empty() {
        host.network_mode = if config.network_disabled { "none" } else { networks::DEFAULT }.to_owned();
    }
    or(&mut host.ipc_mode, "private");
    or(&mut host.restart_policy.name, "no");
    or(&mut host.runtime, "dhow");
    or(&mut host.cgroupns_mode, if machine.cgroup2 { "private" } else { "host" });
    if host.log_config.typ.is_empty() {
        host.log_config = LogConfig { typ: "json-file".to_owned(), config: host.log_config.config.clone() };
    }
    if host.shm_size == 0 {
        host.shm_size = 64 << 20;
    }
    let r = &mut host.resources;
    if r.memory > 0 && r.memory_swap == 0 {
        r.memory_swap = r.memory.saturating_mul(2);
    }
    // How Docker's client says that it asks for nothing.
    if r.memory_swappiness == Some(-1) {
        r.memory_swappiness = None;
    }
    if r.pids_limit.is_some_and(|n| n <= 0) {
        r.pids_limit = None;
    }
    if host.privileged {
        host.masked_paths = None;
        host.readonly_paths = None;
    } else {
        let own = |list: &[&str]| Some(list.iter().map(|p| (*p).to_owned()).collect());
        host.masked_paths = host.masked_paths.take().or_else(|| own(&crate::spec::MASKED));
        host.readonly_paths = host.readonly_paths.take().or_else(|| own(&crate::spec::READONLY));
    }
    let mut warnings = Vec::new();
    if host.network_mode == "host" && (!host.port_bindings.is_empty() || host.publish_all_ports) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    warnings
}

/// The rest of the definition that depends on the id and on other options.
fn fill_config(config: &mut Config, host: &HostConfig, id: &str) -> Result<()> {
    for key in host.port_bindings.keys() {
        for port in ports::parse(key)? {
            config.exposed_ports.insert(port.to_string());
        }
    }
    if config.hostname.is_empty() {
        config.hostname = if host.network_mode == "host" || host.uts_mode == "host" {
            machine::hostname()
        } else {
            ids::short(id).to_owned()
        };
    }
    if !config.working_dir.is_empty() {
        config.working_dir = bind::clean(&config.working_dir);
    }
    Ok(())
}

/// The networks that the container joins: the one of its network mode, and those of the networking configuration.
fn wanted_networks(
    config: &mut Config,
    host: &HostConfig,
    asked: NetworkingConfig,
) -> Result<std::collections::BTreeMap<String, EndpointSettings>> {
    let mode = host.network_mode.as_str();
    let mut networks: std::collections::BTreeMap<String, EndpointSettings> = asked
        .endpoints_config
        .into_iter()
        .map(|(name, settings)| {
            let name = if name == "default" { networks::DEFAULT.to_owned() } else { name };
            (name, settings.unwrap_or_default())
        })
        .collect();
    if mode.starts_with("container:") {
        if !networks.is_empty() {
            return Err(Error::invalid(
                "conflicting options: container type network can't be used with other networks",
            ));
        }
        return Ok(networks);
    }
    let settings = networks.entry(mode.to_owned()).or_default();
    if settings.mac_address.is_empty() {
        settings.mac_address = std::mem::take(&mut config.mac_address);
    }
    for (name, settings) in &networks {
        validate::check_endpoint(name, settings)?;
        networking::wanted_mac(&settings.mac_address)?;
    }
    let settings = &networks[mode];
    let on_default = matches!(mode, "bridge" | "host" | "none");
    let own_address = settings.ipam_config.as_ref().is_some_and(|c| !c.ipv4_address.is_empty());
    if own_address && on_default {
        return Err(Error::invalid(
            "invalid config for network bridge: invalid endpoint settings:\nuser specified IP address is supported on \
             user defined networks only",
        ));
    }
    let has_aliases = |name: &&str| networks.get(*name).is_some_and(|settings| !settings.aliases.is_empty());
    if let Some(name) = networks::PREDEFINED.iter().find(|name| has_aliases(name)) {
        return Err(Error::invalid(format!(
            "invalid config for network {name}: invalid endpoint settings:\nnetwork-scoped aliases are only supported for \
             user-defined networks"
        )));
    }
    if networks.len() > 1 && matches!(mode, "host" | "none") {
        return Err(Error::invalid(format!(
            "conflicting options: a container in network mode {mode} can't join other networks"
        )));
    }
    Ok(networks)
}
