//! The OCI specification of a `RUN`. Pure: a function of what was looked up before.

use super::network::HOSTNAME;
use crate::graph::Run;
use crate::request::Limits;
use crate::users::Identity;
use oci::runtime::{
    Capabilities, Linux, Mount, Namespace, NamespaceType, Process, Resources, Root, Spec, User,
};
use runtime::defaults;
use std::path::{Path, PathBuf};

/// Default size of `/dev/shm`.
const SHM: u64 = 64 << 20;

/// What a specification is made from.
pub(crate) struct Inputs<'a> {
    pub run: &'a Run,
    pub who: Identity,
    /// Variables besides those of the `RUN`: proxies and secrets.
    pub env: Vec<String>,
    pub hosts: &'a Path,
    pub resolv_conf: &'a Path,
    /// Further mounts in order.
    pub mounts: Vec<Mount>,
    /// The process shares the host's network.
    pub host_network: bool,
    /// Every capability that the machine has, for `--security=insecure`.
    pub all_capabilities: Vec<String>,
    pub limits: &'a Limits,
    /// Control group; empty for none.
    pub cgroup: String,
}

/// The specification.
pub(crate) fn spec(inputs: Inputs<'_>) -> Spec {
    let run = inputs.run;
    let capabilities: Vec<String> = match run.insecure {
        true => inputs.all_capabilities.clone(),
        false => defaults::CAPABILITIES.iter().map(ToString::to_string).collect(),
    };
    // A process that is not root gets capabilities from set-id programs only.
    let own = if inputs.who.uid == 0 { capabilities.clone() } else { Vec::new() };
    let seccomp = (!run.insecure).then(|| runtime::seccomp::docker_default(&capabilities));
    let mut env = run.env.clone();
    env.extend(inputs.env.iter().cloned());
    let process = Process {
        user: User {
            uid: inputs.who.uid,
            gid: inputs.who.gid,
            umask: Some(0o022),
            additional_gids: inputs.who.groups.clone(),
        },
        args: run.argv.clone(),
        env,
        cwd: run.cwd.clone(),
        capabilities: Some(Capabilities {
            bounding: capabilities,
            effective: own.clone(),
            permitted: own,
            ..Capabilities::default()
        }),
        rlimits: inputs.limits.rlimits.iter().chain(&run.own.rlimits).cloned().collect(),
        ..Process::default()
    };
    let paths = |list: &[&str]| match run.insecure {
        true => Vec::new(),
        false => list.iter().map(ToString::to_string).collect(),
    };
    let linux = Linux {
        namespaces: namespaces(inputs.host_network),
        resources: resources(&inputs),
        cgroups_path: inputs.cgroup.clone(),
        seccomp,
        masked_paths: paths(&defaults::MASKED),
        readonly_paths: paths(&defaults::READONLY),
        ..Linux::default()
    };
    Spec {
        oci_version: oci::runtime::VERSION.into(),
        process: Some(process),
        root: run.own.readonly.then(|| Root { path: PathBuf::new(), readonly: true }),
        hostname: inputs.run.hostname.clone().unwrap_or_else(|| HOSTNAME.into()),
        mounts: mounts(&inputs),
        linux: Some(linux),
        ..Spec::default()
    }
}

fn namespaces(host_network: bool) -> Vec<Namespace> {
    use NamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let all = [Pid, Mount, Ipc, Uts, Cgroup, Network];
    let wanted = all.into_iter().filter(|t| !(host_network && *t == Network));
    wanted.map(|typ| Namespace { typ, path: None }).collect()
}

fn resources(inputs: &Inputs<'_>) -> Option<Resources> {
    if inputs.cgroup.is_empty() {
        return None;
    }
    let mut resources = inputs.limits.resources.clone().unwrap_or_default();
    if !inputs.run.insecure {
        resources.devices = runtime::defaults::devices();
    }
    Some(resources)
}

/// A mount of a kernel file system.
pub(crate) fn kernel(typ: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        typ: typ.into(),
        source: typ.into(),
        options: options.iter().map(ToString::to_string).collect(),
        ..Mount::default()
    }
}

/// A bind mount.
pub(crate) fn bind(source: &Path, destination: &str, readonly: bool) -> Mount {
    let access = if readonly { "ro" } else { "rw" };
    Mount {
        destination: destination.into(),
        typ: "bind".into(),
        source: source.to_path_buf(),
        options: ["rbind", "rprivate", access].iter().map(ToString::to_string).collect(),
        ..Mount::default()
    }
}

fn mounts(inputs: &Inputs<'_>) -> Vec<Mount> {
    let access = if inputs.run.insecure { "rw" } else { "ro" };
    let shm = format!("size={}", inputs.limits.shm_size.unwrap_or(SHM));
    let mut mounts = vec![
        kernel("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        kernel("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        kernel(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        kernel("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
        kernel("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        kernel("sysfs", "/sys", &["nosuid", "noexec", "nodev", access]),
        kernel("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", access]),
        bind(inputs.hosts, "/etc/hosts", true),
        bind(inputs.resolv_conf, "/etc/resolv.conf", true),
    ];
    mounts.extend(inputs.mounts.iter().cloned());
    mounts
}

/// Where something is mounted that is no part of another mount, with whether it is a directory.
pub(crate) fn mount_points(spec: &Spec) -> Vec<(PathBuf, bool)> {
    let is_file = |m: &Mount| m.typ == "bind" && std::fs::metadata(&m.source).is_ok_and(|s| !s.is_dir());
    let below =
        |path: &Path| ["/proc/", "/sys/", "/dev/"].iter().any(|p| path.to_string_lossy().starts_with(p));
    let points = spec.mounts.iter().filter(|m| !below(&m.destination));
    points.map(|m| (m.destination.clone(), !is_file(m))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(insecure: bool) -> Run {
        Run {
            argv: vec!["/bin/sh".into()],
            env: vec!["A=b".into()],
            cwd: "/".into(),
            user: String::new(),
            network: None,
            insecure,
            devices: Vec::new(),
            mounts: Vec::new(),
            hostname: None,
            script: None,
            proxies: Vec::new(),
            own: Default::default(),
        }
    }

    fn made(insecure: bool, uid: u32) -> Spec {
        spec(Inputs {
            run: &run(insecure),
            who: Identity { uid, ..Identity::default() },
            env: Vec::new(),
            hosts: Path::new("/h"),
            resolv_conf: Path::new("/r"),
            mounts: Vec::new(),
            host_network: false,
            all_capabilities: vec!["CAP_SYS_ADMIN".into()],
            limits: &Limits::default(),
            cgroup: String::new(),
        })
    }

    #[test]
    fn a_run_is_confined() {
        let spec = made(false, 0);
        let linux = spec.linux.unwrap();
        assert!(linux.seccomp.is_some() && linux.masked_paths.contains(&"/proc/kcore".to_string()));
        let capabilities = spec.process.unwrap().capabilities.unwrap();
        assert!(!capabilities.bounding.contains(&"CAP_SYS_ADMIN".to_string()));
        assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());
        let other = made(false, 1000).process.unwrap().capabilities.unwrap();
        assert!(other.effective.is_empty() && !other.bounding.is_empty());
    }

    #[test]
    fn insecure_is_asked_for() {
        let spec = made(true, 0);
        let linux = spec.linux.unwrap();
        assert!(linux.seccomp.is_none() && linux.masked_paths.is_empty());
        assert_eq!(spec.process.unwrap().capabilities.unwrap().bounding, ["CAP_SYS_ADMIN"]);
    }
}
