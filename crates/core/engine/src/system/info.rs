//! `docker info` and `docker version`.

use std::collections::BTreeMap;

use api::system::{
    Commit, ComponentVersion, DeviceInfo, FirewallInfo, IndexInfo, Info, PlatformName, PluginsInfo,
    RegistryConfig, Runtime, SwarmInfo, Version,
};
use api::{time, version as versions};
use monitor::State;
use oci::Platform;
use runtime::cdi::Registry;

use crate::containers::list;
use crate::error::Result;
use crate::{Engine, machine};

/// What this server is and speaks.
pub async fn version(engine: &Engine) -> Result<Version> {
    let host = Platform::host();
    let product = engine.config().version.clone();
    let api_version = versions::CURRENT.to_string();
    let details = BTreeMap::from([
        ("ApiVersion".to_owned(), api_version.clone()),
        ("Arch".to_owned(), host.architecture.clone()),
        ("KernelVersion".to_owned(), machine::release()),
        ("MinAPIVersion".to_owned(), versions::MINIMUM.to_string()),
        ("Os".to_owned(), host.os.clone()),
    ]);
    Ok(Version {
        platform: PlatformName { name: "Dhow".to_owned() },
        components: vec![ComponentVersion { name: "Engine".to_owned(), version: product.clone(), details }],
        version: product,
        api_version,
        min_api_version: versions::MINIMUM.to_string(),
        os: host.os,
        arch: host.architecture,
        kernel_version: machine::release(),
        // Docker's client asks for `--squash` only where this is so.
        experimental: true,
        ..Version::default()
    })
}

/// The state of the engine and what the machine offers.
pub async fn info(engine: &Engine) -> Result<Info> {
    engine.blocking(info_now).await
}

fn info_now(engine: &Engine) -> Result<Info> {
    let facts = machine::facts();
    let mut info = Info {
        id: id(engine)?,
        images: i64::try_from(engine.db().read(state::images::all)?.len()).unwrap_or(0),
        driver: "overlay2".to_owned(),
        experimental_build: true,
        driver_status: vec![["Backing Filesystem".to_owned(), backing(engine)]],
        plugins: PluginsInfo {
            volume: vec!["local".to_owned()],
            network: ["bridge", "host", "null"].map(str::to_owned).to_vec(),
            authorization: Vec::new(),
            log: ["json-file", "none"].map(str::to_owned).to_vec(),
        },
        n_fd: open_files(),
        system_time: time::now(),
        logging_driver: "json-file".to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: if facts.cgroup2 { "2" } else { "1" }.to_owned(),
        kernel_version: machine::release(),
        os_type: "linux".to_owned(),
        architecture: rustix::system::uname().machine().to_string_lossy().into_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registries(engine),
        n_cpu: i64::from(crate::machine::cpus()),
        mem_total: i64::try_from(machine::memory()).unwrap_or(i64::MAX),
        docker_root_dir: engine.config().root.to_string_lossy().into_owned(),
        name: machine::hostname(),
        server_version: engine.config().version.clone(),
        runtimes: BTreeMap::from([("dhow".to_owned(), runtime(engine))]),
        default_runtime: "dhow".to_owned(),
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        // Containers never depend on a daemon here.
        live_restore_enabled: true,
        init_binary: "docker-init".to_owned(),
        containerd_commit: Commit::default(),
        security_options: security(facts.apparmor, facts.cgroup2),
        firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: Vec::new() }),
        ..Info::default()
    };
    (info.operating_system, info.os_version) = operating_system();
    devices(engine, &mut info);
    limits(&mut info, facts.cgroup2);
    info.warnings.extend(crate::privileges::warnings());
    for seen in list::everything(engine)? {
        info.containers += 1;
        match seen.status.state {
            State::Running | State::Restarting => info.containers_running += 1,
            State::Paused => info.containers_paused += 1,
            State::Created | State::Exited | State::Dead => info.containers_stopped += 1,
        }
    }
    Ok(info)
}

/// The devices that vendors describe, and what is wrong with the files in which they do.
fn devices(engine: &Engine, info: &mut Info) {
    let directories = &engine.config().cdi_directories;
    info.cdi_spec_dirs = directories.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let known = Registry::read(directories);
    let device = |name: &str| DeviceInfo { source: "cdi".to_owned(), id: name.to_owned() };
    info.discovered_devices = known.names().map(device).collect();
    info.warnings.extend(known.problems().iter().map(|problem| {
        format!("CDI: Error associated with spec file {}: {}", problem.path.display(), problem.reason)
    }));
}

/// The identity of this root: that of its default network, which is made once.
fn id(engine: &Engine) -> Result<String> {
    let of = |name| crate::networks::find(engine, name).map(|network| network.id);
    // A machine without a free subnet has no default network yet.
    of(crate::networks::DEFAULT).or_else(|_| of("none"))
}

fn runtime(engine: &Engine) -> Runtime {
    Runtime { path: engine.config().exe.to_string_lossy().into_owned(), args: vec!["runtime".to_owned()] }
}

fn security(apparmor: bool, cgroup2: bool) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if apparmor {
        options.insert(0, "name=apparmor".to_owned());
    }
    if cgroup2 {
        options.push("name=cgroupns".to_owned());
    }
    options
}

fn registries(engine: &Engine) -> RegistryConfig {
    // What is wrong with the files the next pull tells.
    let client = engine.registries(&[]);
    let mirrors = client.mirrors().unwrap_or_default();
    let name = "docker.io".to_owned();
    let index = IndexInfo { name, mirrors: mirrors.clone(), secure: true, official: true };
    let mut configs = BTreeMap::from([("docker.io".to_owned(), index)]);
    let mut subnets = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    let insecure = client.insecure().unwrap_or_else(|_| engine.config().insecure_registries.clone());
    for host in insecure {
        if host.contains('/') {
            subnets.insert(0, host);
            continue;
        }
        let index = IndexInfo { name: host.clone(), ..IndexInfo::default() };
        configs.insert(host, index);
    }
    RegistryConfig { insecure_registry_cidrs: subnets, index_configs: configs, mirrors }
}

/// Which limits the machine can enforce.
fn limits(info: &mut Info, cgroup2: bool) {
    let controllers = runtime::cgroup::Controllers::available();
    let has = |name: &str| controllers.has(name);
    info.memory_limit = has("memory");
    info.swap_limit = has("memory");
    (info.cpu_cfs_period, info.cpu_cfs_quota, info.cpu_shares) = (has("cpu"), has("cpu"), has("cpu"));
    info.cpu_set = has("cpuset");
    info.pids_limit = has("pids");
    info.oom_kill_disable = !cgroup2 && has("memory");
    for (there, what) in [
        (info.memory_limit, "memory limit"),
        (info.swap_limit, "swap limit"),
        (info.pids_limit, "pids limit"),
        (info.cpu_cfs_quota, "cpu cfs quota"),
        (info.cpu_cfs_period, "cpu cfs period"),
        (info.cpu_shares, "cpu shares"),
        (info.cpu_set, "cpuset"),
    ] {
        if !there {
            info.warnings.push(format!("WARNING: No {what} support"));
        }
    }
    let forwarding = std::fs::read("/proc/sys/net/ipv4/ip_forward");
    info.ipv4_forwarding = forwarding.is_ok_and(|b| b.starts_with(b"1"));
    if !info.ipv4_forwarding {
        info.warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
    }
}

fn open_files() -> i64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0))
}

fn backing(engine: &Engine) -> String {
    const EXT4: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683e;
    const TMPFS: i64 = 0x0102_1994;
    const OVERLAY: i64 = 0x794c_7630;
    let magic = rustix::fs::statfs(&engine.config().root).map_or(0, |s| s.f_type);
    match magic {
        EXT4 => "extfs",
        XFS => "xfs",
        BTRFS => "btrfs",
        TMPFS => "tmpfs",
        OVERLAY => "overlayfs",
        _ => "<unknown>",
    }
    .to_owned()
}

/// Name and version of the distribution.
fn operating_system() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        line.map(|v| v.trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    let name = value("PRETTY_NAME");
    (if name.is_empty() { "Linux".to_owned() } else { name }, value("VERSION_ID"))
}
