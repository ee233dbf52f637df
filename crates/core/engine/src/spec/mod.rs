//! From a container's definition to the OCI runtime document. Pure: what has to be looked up on the machine (users,
//! devices, other containers' namespaces) is looked up before and comes in as values.
//!
//! Defaults are Docker's (moby `oci/defaults.go`, `daemon/oci_linux.go`).

pub mod capabilities;
mod mounts;
pub(crate) mod resources;
pub mod seccomp;
mod security;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::containers::{Config, HostConfig, Ulimit};
use oci::runtime::{
    Capabilities, ConsoleSize, Linux, Namespace, NamespaceType, Process, Rlimit, Root, Spec, User, VERSION,
};
use oci::user::Resolved;

use crate::containers::merge;
use crate::containers::record::Mount;
use crate::error::Result;

pub use mounts::INIT_PATH;
pub use resources::{HostDevice, is_access, resources};
pub use runtime::defaults::{MASKED, READONLY};
pub use security::SecurityOptions;

/// What this machine offers.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// cgroup v2 is the only hierarchy.
    pub cgroup2: bool,
    /// Names of the capabilities that we may give.
    pub capabilities: Vec<&'static str>,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// Seccomp profiles with a `minKernel` condition are read against it.
    pub kernel: (u32, u32),
}

/// Which network namespace the container's processes see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// One of its own, handed to the runtime as a descriptor.
    Own,
    /// Another container's, handed over likewise.
    Joined,
    /// The machine's.
    Host,
}

/// Namespaces of other containers to join.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// `--pid container:x`.
    pub pid: Option<PathBuf>,
    /// `--ipc container:x`.
    pub ipc: Option<PathBuf>,
    /// The mount namespace of the same container, whose `/dev/shm` is shared with it.
    pub shm: Option<PathBuf>,
}

/// Everything that [`spec`] needs.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Identity of the container.
    pub id: &'a str,
    /// What it runs.
    pub config: &'a Config,
    /// How it meets this machine.
    pub host: &'a HostConfig,
    /// Host name of its processes.
    pub hostname: &'a str,
    /// Who it runs as.
    pub user: &'a Resolved,
    /// Volumes, binds and tmpfs; the sources exist.
    pub mounts: &'a [Mount],
    /// The directory with its `hosts`, `hostname` and `resolv.conf`.
    pub etc: &'a Path,
    /// The program that is bound to [`INIT_PATH`] if it has an init.
    pub init: Option<&'a Path>,
    /// Its network namespace.
    pub network: Network,
    /// Namespaces of others.
    pub joined: Joined,
    /// Devices of `--device`, or all of the machine for a privileged container.
    pub devices: &'a [HostDevice],
    /// Device numbers of the paths in block I/O limits.
    pub block: &'a BTreeMap<String, (i64, i64)>,
    /// Its control group.
    pub cgroup: &'a str,
    /// What the machine offers.
    pub machine: &'a Machine,
}

/// The OCI document.
pub fn spec(inputs: &Inputs<'_>) -> Result<Spec> {
    let options = SecurityOptions::parse(&inputs.host.security_opt)?;
    Ok(Spec {
        oci_version: VERSION.to_owned(),
        process: Some(process(inputs, &options)?),
        root: Some(Root { path: PathBuf::from("rootfs"), readonly: inputs.host.readonly_rootfs }),
        hostname: if inputs.host.uts_mode == "host" { String::new() } else { inputs.hostname.to_owned() },
        domainname: inputs.config.domainname.clone(),
        mounts: mounts::mounts(inputs, &options)?,
        hooks: None,
        annotations: inputs.host.annotations.clone(),
        linux: Some(linux(inputs, &options)?),
    })
}

fn process(inputs: &Inputs<'_>, options: &SecurityOptions) -> Result<Process> {
    let (config, host) = (inputs.config, inputs.host);
    let mut args = [config.entrypoint.as_slice(), config.cmd.as_slice()].concat();
    if inputs.init.is_some() {
        args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    let home = inputs.user.home.as_deref().unwrap_or("/");
    let [height, width] = host.console_size.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    Ok(Process {
        terminal: config.tty,
        console_size: (config.tty && height > 0 && width > 0).then_some(ConsoleSize { height, width }),
        user: user(inputs.user),
        args,
        env: merge::environment(config, inputs.hostname, home),
        cwd: if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() },
        capabilities: Some(capability_sets(host, inputs.user.uid, &inputs.machine.capabilities)?),
        rlimits: rlimits(&host.resources.ulimits),
        no_new_privileges: options.no_new_privileges,
        apparmor_profile: options.apparmor(inputs.machine.apparmor)?,
        oom_score_adj: Some(host.oom_score_adj as i32),
        ..Process::default()
    })
}

/// A resolved user as the runtime wants it.
pub fn user(user: &Resolved) -> User {
    User { uid: user.uid, gid: user.gid, umask: None, additional_gids: user.groups.clone() }
}

/// The capability sets of a process: none inheritable or ambient (CVE-2022-24769); without uid 0 only the bound.
pub fn capability_sets(host: &HostConfig, uid: u32, available: &[&str]) -> Result<Capabilities> {
    let set =
        capabilities::set(host.cap_add.as_slice(), host.cap_drop.as_slice(), host.privileged, available)?;
    let active = if uid == 0 { set.clone() } else { Vec::new() };
    Ok(Capabilities {
        bounding: set,
        effective: active.clone(),
        permitted: active,
        inheritable: Vec::new(),
        ambient: Vec::new(),
    })
}

pub(crate) fn rlimits(limits: &[Ulimit]) -> Vec<Rlimit> {
    let value = |n: i64| if n == -1 { u64::MAX } else { n.max(0) as u64 };
    limits
        .iter()
        .map(|l| Rlimit {
            typ: format!("RLIMIT_{}", l.name.to_ascii_uppercase()),
            soft: value(l.soft),
            hard: value(l.hard),
        })
        .collect()
}

fn linux(inputs: &Inputs<'_>, options: &SecurityOptions) -> Result<Linux> {
    let host = inputs.host;
    let open_paths = host.privileged || options.system_paths_unconfined;
    let paths = |own: &Option<Vec<String>>, default: &[&str]| match own {
        _ if open_paths => Vec::new(),
        Some(own) => own.clone(),
        None => default.iter().map(|p| (*p).to_owned()).collect(),
    };
    let (devices, rules) =
        resources::devices(inputs.devices, &host.resources.device_cgroup_rules, host.privileged)?;
    let mut limits = resources::resources(&host.resources, inputs.block)?;
    limits.devices = rules;
    let capabilities = capability_sets(host, 0, &inputs.machine.capabilities)?;
    Ok(Linux {
        namespaces: namespaces(inputs),
        devices,
        cgroups_path: inputs.cgroup.to_owned(),
        resources: Some(limits),
        rootfs_propagation: propagation(inputs.mounts).to_owned(),
        seccomp: options.seccomp(host.privileged, &capabilities.bounding, inputs.machine.kernel)?,
        sysctl: sysctls(inputs),
        masked_paths: paths(&host.masked_paths, &MASKED),
        readonly_paths: paths(&host.readonly_paths, &READONLY),
        ..Linux::default()
    })
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<Namespace> {
    let host = inputs.host;
    let mut list = vec![Namespace { typ: NamespaceType::Mount, path: None }];
    if inputs.network != Network::Host {
        list.push(Namespace { typ: NamespaceType::Network, path: None });
    }
    if host.uts_mode != "host" {
        list.push(Namespace { typ: NamespaceType::Uts, path: None });
    }
    if host.pid_mode != "host" {
        list.push(Namespace { typ: NamespaceType::Pid, path: inputs.joined.pid.clone() });
    }
    if host.ipc_mode != "host" {
        list.push(Namespace { typ: NamespaceType::Ipc, path: inputs.joined.ipc.clone() });
    }
    if host.cgroupns_mode == "private" {
        list.push(Namespace { typ: NamespaceType::Cgroup, path: None });
    }
    list
}

/// What the root mount must be so that the mounts below it can propagate as asked.
fn propagation(mounts: &[Mount]) -> &'static str {
    let has = |words: &[&str]| mounts.iter().any(|m| words.contains(&m.propagation.as_str()));
    if has(&["shared", "rshared"]) {
        "shared"
    } else if has(&["slave", "rslave"]) {
        "rslave"
    } else {
        ""
    }
}

/// The user's sysctls; in a network namespace of its own also those that let unprivileged processes ping and use low
/// ports, as Docker does.
fn sysctls(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let mut all = inputs.host.sysctls.clone();
    if inputs.network == Network::Own {
        for (name, value) in
            [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")]
        {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests;
