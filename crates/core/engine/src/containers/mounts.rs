//! From what a request says about mounts to what the container is defined to mount.
//!
//! Sources are volumes of other containers (`--volumes-from`), `-v`, `--mount` and the image's `VOLUME`s, in this
//! order; a later one replaces an earlier one at the same place, two of `-v` and `--mount` there are an error.

use std::collections::BTreeSet;
use std::path::Path;

use api::containers::{Config, HostConfig};
use api::mounts::Mount as Asked;

use super::bind;
use super::record::{self, Mount, MountKind};
use crate::error::{Error, Result};
use crate::{Engine, volumes};

/// A resolved mount.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub mount: Mount,
    /// Whether its volume wants the image's content if it is empty.
    pub copy_up: bool,
    /// The volume that is to be made for it.
    pub draft: Option<volumes::Draft>,
}

/// Resolves all mounts of a container to be created; makes named volumes that are missing. Anonymous ones are made with
/// the container, by [`make_anonymous`].
pub(crate) fn resolve(engine: &Engine, config: &Config, host: &HostConfig) -> Result<Vec<Resolved>> {
    let mut all: Vec<Resolved> = Vec::new();
    for from in &host.volumes_from {
        for mount in inherited(engine, from)? {
            replace(&mut all, Resolved { mount, copy_up: false, draft: None });
        }
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for destination in host.tmpfs.keys() {
        claim(&mut taken, &bind::destination_path(destination)?)?;
    }
    for raw in &host.binds {
        let parsed = bind::parse(raw)?;
        claim(&mut taken, &parsed.destination)?;
        if !parsed.source.as_deref().is_some_and(|source| source.starts_with('/')) {
            local(parsed.source.as_deref().unwrap_or_default(), &host.volume_driver)?;
        }
        let resolved = of_bind(engine, parsed)?;
        replace(&mut all, resolved);
    }
    for asked in &host.mounts {
        let destination = bind::destination_path(&asked.target)
            .map_err(|e| e.within(format_args!("invalid mount config for type {:?}", asked.typ)))?;
        claim(&mut taken, &destination)?;
        let resolved = of_mount(engine, asked, destination)?;
        replace(&mut all, resolved);
    }
    for destination in config.volumes.iter() {
        let destination = bind::destination_path(destination)?;
        if taken.contains(&destination) || all.iter().any(|r| r.mount.destination == destination) {
            continue;
        }
        local("", &host.volume_driver)?;
        let resolved = of_volume(engine, "", destination, VolumeRequest::default())?;
        all.push(resolved);
    }
    Ok(all)
}

/// Only the driver `local` is there; naming another one matters where a volume is to be made by it.
fn local(volume: &str, driver: &str) -> Result<()> {
    if matches!(driver, "" | "local") {
        return Ok(());
    }
    let of = if volume.is_empty() { String::new() } else { format!("create {volume}: ") };
    Err(Error::not_found(format!(
        "{of}error looking up volume plugin {driver}: plugin \"{driver}\" not found"
    )))
}

fn claim(taken: &mut BTreeSet<String>, destination: &str) -> Result<()> {
    if taken.insert(destination.to_owned()) {
        return Ok(());
    }
    Err(Error::invalid(format!("Duplicate mount point: {destination}")))
}

fn replace(all: &mut Vec<Resolved>, resolved: Resolved) {
    all.retain(|r| r.mount.destination != resolved.mount.destination);
    all.push(resolved);
}

/// `--volumes-from name[:ro|rw]`.
fn inherited(engine: &Engine, spec: &str) -> Result<Vec<Mount>> {
    let (name, mode) = spec.split_once(':').unwrap_or((spec, "rw"));
    if !matches!(mode, "ro" | "rw" | "z" | "Z") || name.is_empty() {
        return Err(Error::invalid(format!("invalid volumes-from specification: {spec}")));
    }
    // Not "not found": clients would take it for the image's absence, and pull.
    let other = record::find(engine, name).map_err(|e| Error::invalid(e.message))?;
    Ok(other
        .document
        .mounts
        .into_iter()
        .filter(|m| m.kind != MountKind::Tmpfs)
        .map(|m| Mount { rw: m.rw && mode != "ro", anonymous: false, ..m })
        .collect())
}

fn of_bind(engine: &Engine, parsed: bind::Bind) -> Result<Resolved> {
    let source = parsed.source.unwrap_or_default();
    if source.starts_with('/') {
        let mount = Mount {
            kind: MountKind::Bind,
            source: bind::clean(&source).into(),
            destination: parsed.destination,
            mode: parsed.mode,
            rw: parsed.read_write,
            propagation: parsed.propagation,
            create_source: true,
            ..Mount::default()
        };
        return Ok(Resolved { mount, copy_up: false, draft: None });
    }
    let request = VolumeRequest { copy_up: parsed.copy_up, ..VolumeRequest::default() };
    let mut resolved = of_volume(engine, &source, parsed.destination, request)?;
    resolved.mount.mode = if parsed.mode.is_empty() { "z".to_owned() } else { parsed.mode };
    resolved.mount.rw = parsed.read_write;
    Ok(resolved)
}

#[derive(Debug, Clone)]
struct VolumeRequest {
    copy_up: bool,
    document: volumes::Document,
}

impl Default for VolumeRequest {
    fn default() -> VolumeRequest {
        VolumeRequest { copy_up: true, document: volumes::Document::default() }
    }
}

/// A volume at `destination`, made if it is missing; without a name an anonymous one, which is not made yet.
fn of_volume(engine: &Engine, name: &str, destination: String, request: VolumeRequest) -> Result<Resolved> {
    let (draft, volume) = if name.is_empty() {
        let draft = volumes::Draft::new(request.document)?;
        let volume = draft.record().clone();
        (Some(draft), volume)
    } else {
        let (volume, made) = volumes::ensure(engine, name, false, request.document)?;
        if !made {
            volumes::resume(&volumes::dir(engine, name))
                .map_err(|e| e.within(format_args!("finish filling volume {name}")))?;
        }
        (None, volume)
    };
    let mount = Mount {
        kind: MountKind::Volume,
        source: volume.data(engine),
        name: volume.name,
        destination,
        rw: true,
        anonymous: draft.is_some(),
        ..Mount::default()
    };
    Ok(Resolved { mount, copy_up: request.copy_up, draft })
}

fn of_mount(engine: &Engine, asked: &Asked, destination: String) -> Result<Resolved> {
    let fail =
        |text: String| Err(Error::invalid(format!("invalid mount config for type {:?}: {text}", asked.typ)));
    match asked.typ.as_str() {
        "bind" => {
            let options = asked.bind_options.clone().unwrap_or_default();
            if asked.source.is_empty() {
                return fail("field Source must not be empty".to_owned());
            }
            if !asked.source.starts_with('/') {
                return fail(format!("invalid mount path: '{}' mount path must be absolute", asked.source));
            }
            if !options.propagation.is_empty() && !bind::is_propagation(&options.propagation) {
                return fail(format!("invalid propagation: {}", options.propagation));
            }
            if !options.create_mountpoint && !Path::new(&asked.source).exists() {
                return fail(format!("bind source path does not exist: {}", asked.source));
            }
            let mount = Mount {
                kind: MountKind::Bind,
                source: bind::clean(&asked.source).into(),
                destination,
                rw: !asked.read_only,
                propagation: options.propagation,
                non_recursive: options.non_recursive,
                create_source: options.create_mountpoint,
                ..Mount::default()
            };
            Ok(Resolved { mount, copy_up: false, draft: None })
        }
        "volume" => {
            let options = asked.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.unwrap_or_default();
            local(&asked.source, &driver.name)?;
            if options.subpath.starts_with('/')
                || Path::new(&options.subpath).components().any(|c| c.as_os_str() == "..")
            {
                return fail("subpath must be a relative path within the volume".to_owned());
            }
            let request = VolumeRequest {
                copy_up: !options.no_copy && options.subpath.is_empty(),
                document: volumes::Document { labels: options.labels, options: driver.options },
            };
            let mut resolved = of_volume(engine, &asked.source, destination, request)?;
            resolved.mount.rw = !asked.read_only;
            resolved.mount.mode = "z".to_owned();
            resolved.mount.subpath = options.subpath;
            Ok(resolved)
        }
        "tmpfs" => of_tmpfs(asked, destination),
        "image" => fail("image mounts are not supported".to_owned()),
        "npipe" | "cluster" => fail("not supported on this platform".to_owned()),
        _ => fail("mount type unknown".to_owned()),
    }
}

fn of_tmpfs(asked: &Asked, destination: String) -> Result<Resolved> {
    if !asked.source.is_empty() {
        return Err(Error::invalid(
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ));
    }
    let given = asked.tmpfs_options.clone().unwrap_or_default();
    let mut options = Vec::new();
    if given.size_bytes < 0 {
        return Err(Error::invalid(
            "invalid mount config for type \"tmpfs\": field SizeBytes must not be negative",
        ));
    }
    if given.size_bytes > 0 {
        options.push(format!("size={}", given.size_bytes));
    }
    if given.mode != 0 {
        options.push(format!("mode={:o}", given.mode & 0o7777));
    }
    options.extend(given.options.iter().map(|pair| pair.join("=")));
    let mount =
        Mount { kind: MountKind::Tmpfs, destination, rw: !asked.read_only, options, ..Mount::default() };
    Ok(Resolved { mount, copy_up: false, draft: None })
}

/// Puts the image's content at each volume's place into the volume, if the volume is empty.
///
/// `image` is the image's root file system. Reading is confined to it, writing to the volume.
pub(crate) fn copy_up(engine: &Engine, image: &sys::root::Root, resolved: &[Resolved]) -> Result<()> {
    for Resolved { mount, .. } in resolved.iter().filter(|r| r.copy_up && r.mount.kind == MountKind::Volume) {
        let volume = volumes::dir(engine, &mount.name);
        volumes::copy_up(&volume, &mount.source, image, &mount.destination).map_err(|e| {
            e.within(format_args!("copy the image's {} to volume {}", mount.destination, mount.name))
        })?;
    }
    Ok(())
}

/// Makes the anonymous volumes of the container `id`, whose lock is held; their definitions come with its own.
pub(crate) fn make_anonymous(
    engine: &Engine,
    id: &str,
    resolved: &[Resolved],
) -> Result<Vec<volumes::Provisional>> {
    resolved.iter().filter_map(|r| r.draft.as_ref()).map(|draft| draft.make(engine, id)).collect()
}
