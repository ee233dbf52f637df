//! From a definition to what a monitor needs for running it: everything is looked up, resolved and made here, then
//! the pure [`crate::spec`] writes the document.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::containers::{HealthConfig, RestartPolicy as AskedPolicy};
use monitor::{CONFIG_VERSION, Config, Health, RestartName, RestartPolicy};
use oci::user::{self, Resolved};
use state::Life;
use sys::root::Root;

use super::networking::Connected;
use super::record::{self, Mount, MountKind, Record};
use super::{devices, etc, logging, signal, skeleton};
use crate::error::{Context, Error, Result};
use crate::spec::{self, Joined};
use crate::{Engine, exec, machine};

/// Seconds between the stop signal and SIGKILL unless the container says otherwise.
pub(crate) const STOP_TIMEOUT: i64 = 10;

/// A container's root file system, ready to run on.
pub(crate) struct Rootfs {
    overlay: sys::mount::Overlay,
    /// Its mount, in no mount namespace.
    pub mounted: OwnedFd,
    /// Who runs in it, by its own files.
    user: Resolved,
}

/// Mounts the root file system detached, looks up the user in the container's files and makes its working directory.
pub(crate) fn rootfs(engine: &Engine, record: &Record) -> Result<Rootfs> {
    let overlay = overlay(engine, record)?;
    let (user, mounted) = prepare_rootfs(record, &overlay)?;
    Ok(Rootfs { overlay, mounted, user })
}

/// What the monitor runs.
pub(crate) fn config(
    engine: &Engine,
    record: &Record,
    connected: &Connected,
    rootfs: &Rootfs,
) -> Result<Config> {
    let document = &record.document;
    let (asked, host) = (&document.config, &document.host_config);
    let facts = machine::facts();
    check_sources(&document.mounts)?;
    let init = host.init.unwrap_or(false).then(|| engine.config().exe.clone());
    let cgroup = cgroup_path(record);
    let given = devices::of(host)?;
    let mut spec = spec::spec(&spec::Inputs {
        id: &record.id,
        config: asked,
        host,
        hostname: record.hostname(),
        user: &rootfs.user,
        mounts: &document.mounts,
        etc: &engine.container_dir(&connected.names_of),
        init: init.as_deref(),
        network: connected.network,
        joined: joined(engine, record)?,
        devices: &given,
        block: &devices::block_numbers(&host.resources)?,
        cgroup: &cgroup,
        machine: &facts.spec(),
    })?;
    devices::inject(engine, host, &mut spec)?;
    Ok(Config {
        version: CONFIG_VERSION,
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.image.clone(),
        labels: asked.labels.clone(),
        spec,
        rootfs: runtime::Rootfs::Overlay(rootfs.overlay.clone()),
        tty: asked.tty,
        open_stdin: asked.open_stdin,
        stdin_once: asked.stdin_once,
        log: logging::log_config(host, asked)?,
        restart: restart_policy(&host.restart_policy),
        restarts: 0,
        health: asked.healthcheck.as_ref().and_then(|h| health(h, asked.shell.as_slice())),
        stop_signal: stop_signal(record)?,
        stop_timeout: asked.stop_timeout.unwrap_or(STOP_TIMEOUT),
        auto_remove: host.auto_remove,
        dns: connected.dns.clone(),
        events: Some(engine.events_path()),
        further: Some(exec::further(record, facts.apparmor)?),
        cleanup: cleanup(engine, &record.id),
    })
}

/// The container's layers with its own on top.
pub(crate) fn overlay(engine: &Engine, record: &Record) -> Result<sys::mount::Overlay> {
    let dir = engine.container_dir(&record.id);
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    let mut overlay = engine.store().overlay(record.layer.as_ref(), Some(&upper), Some(&work))?;
    overlay.lower.push(skeleton::dir(engine));
    // Without it every unmount waits until all that anybody has written to the disk is there.
    overlay.volatile = record.life() == Life::Fleeting;
    Ok(overlay)
}

/// What the monitor runs at the final exit.
fn cleanup(engine: &Engine, id: &str) -> Vec<String> {
    let text = |p: &Path| p.to_string_lossy().into_owned();
    let config = engine.config();
    vec![text(&config.exe), "cleanup".to_owned(), id.to_owned()]
}

/// The path of the container's control group in every hierarchy.
pub(crate) fn cgroup_path(record: &Record) -> String {
    let parent = record.document.host_config.resources.cgroup_parent.trim_matches('/');
    let parent = if parent.is_empty() { "dhow" } else { parent };
    format!("/{parent}/{}", record.id)
}

/// The signal that asks the container to stop.
pub(crate) fn stop_signal(record: &Record) -> Result<i32> {
    match record.document.config.stop_signal.as_str() {
        "" => Ok(15),
        text => signal::parse(text),
    }
}

/// The policy in the monitor's words.
pub(crate) fn restart_policy(asked: &AskedPolicy) -> RestartPolicy {
    let name = match asked.name.as_str() {
        "always" => RestartName::Always,
        "unless-stopped" => RestartName::UnlessStopped,
        "on-failure" => RestartName::OnFailure,
        _ => RestartName::No,
    };
    RestartPolicy { name, max_retries: u32::try_from(asked.maximum_retry_count).unwrap_or(0) }
}

fn health(asked: &HealthConfig, shell: &[String]) -> Option<Health> {
    if asked.test.first().is_none_or(|t| t == "NONE") {
        return None;
    }
    let duration = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    Some(Health {
        test: asked.test.clone(),
        shell: shell.to_vec(),
        interval: duration(asked.interval),
        timeout: duration(asked.timeout),
        start_period: duration(asked.start_period),
        start_interval: duration(asked.start_interval),
        retries: u32::try_from(asked.retries).unwrap_or(0),
    })
}

fn prepare_rootfs(record: &Record, overlay: &sys::mount::Overlay) -> Result<(Resolved, OwnedFd)> {
    let root =
        overlay.mount().during("mount the container's root file system").map_err(|e| unfit(overlay, e))?;
    let root = Root::from_fd(root).during("open the container's root file system")?;
    etc::make_mount_points(&root)?;
    let user = resolve_user(&root, &record.document.config.user, &record.document.host_config.group_add)?;
    let dir = record.document.config.working_dir.trim_start_matches('/');
    // Below a mount it would be hidden, and the mount's own content counts.
    let mounted = record.document.mounts.iter().any(|m| Path::new("/").join(dir).starts_with(&m.destination));
    if !dir.is_empty() && !mounted {
        root.mkdir_p(dir, 0o755)
            .map_err(|e| Error::invalid(format!("mkdir {}: {e}", record.document.config.working_dir)))?;
    }
    Ok((user, root.into_fd()))
}

/// A layer cannot be written on top of another overlay: the engine's root must lie elsewhere, which the kernel's words
/// leave open.
fn unfit(overlay: &sys::mount::Overlay, error: Error) -> Error {
    const OVERLAY: i64 = 0x794c_7630;
    let on_overlay = |dir: &PathBuf| rustix::fs::statfs(dir).is_ok_and(|found| found.f_type == OVERLAY);
    match overlay.upper.as_ref().filter(|dir| on_overlay(dir)) {
        None => error,
        Some(_) => Error::system(format!(
            "{}: overlays cannot be stacked here: let DHOW_ROOT name a directory on another file system, such as a \
             volume when this runs inside of a container",
            error.message
        )),
    }
}

/// Who `spec` is in this root file system.
pub(crate) fn resolve_user(root: &Root, spec: &str, extra: &[String]) -> Result<Resolved> {
    let read = |path: &str| match root.read_file(path, user::MAX_FILE) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).during(format_args!("read /{path} of the container")),
    };
    let (passwd, group) = (read("etc/passwd")?, read("etc/group")?);
    user::resolve(spec, extra, &passwd, &group).map_err(|e| Error::invalid(e.to_string()))
}

/// Sees to it that the sources of mounts exist: directories of `-v` are made, volumes that lost theirs get it back.
fn check_sources(mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        match mount.kind {
            MountKind::Tmpfs => {}
            MountKind::Bind => bind_source(mount)?,
            MountKind::Volume => {
                std::fs::create_dir_all(&mount.source)
                    .during(format_args!("create the directory of volume {}", mount.name))?;
                if !mount.subpath.is_empty() {
                    check_subpath(&mount.source, &mount.subpath)?;
                }
            }
        }
    }
    Ok(())
}

fn bind_source(mount: &Mount) -> Result<()> {
    if mount.source.exists() {
        return Ok(());
    }
    let path = mount.source.display();
    if !mount.create_source {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {path}"
        )));
    }
    std::fs::create_dir_all(&mount.source)
        .map_err(|e| Error::system(format!("error while creating mount source path '{path}': {e}")))
}

/// Whether a part of a volume is there. The runtime finds it anew, below the volume: another container may be swapping
/// directories for links meanwhile.
fn check_subpath(volume: &Path, part: &str) -> Result<()> {
    Root::open(volume)
        .and_then(|root| root.resolve(part))
        .map(drop)
        .map_err(|e| Error::invalid(format!("cannot access path {}: {e}", volume.join(part).display())))
}

/// Namespaces of other containers, which must run.
fn joined(engine: &Engine, record: &Record) -> Result<Joined> {
    let host = &record.document.host_config;
    let process = |mode: &str, kind: &str| -> Result<Option<PathBuf>> {
        let Some(reference) = mode.strip_prefix("container:") else { return Ok(None) };
        let other = record::find(engine, reference)?;
        if kind == "ipc" && other.document.host_config.ipc_mode != "shareable" {
            return Err(Error::invalid(format!(
                "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                other.id
            )));
        }
        let pid = record::observe(engine, &other.id)?.status.pid;
        if pid == 0 {
            return Err(Error::conflict(format!(
                "cannot join {} namespace of a non running container: container {} is not running",
                kind.to_uppercase(),
                other.name
            )));
        }
        Ok(Some(PathBuf::from(format!("/proc/{pid}/ns"))))
    };
    let ipc = process(&host.ipc_mode, "ipc")?;
    Ok(Joined {
        pid: process(&host.pid_mode, "pid")?.map(|of| of.join("pid")),
        shm: ipc.as_ref().map(|of| of.join("mnt")),
        ipc: ipc.map(|of| of.join("ipc")),
    })
}
