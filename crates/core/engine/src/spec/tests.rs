//! The document as a whole for a few definitions, and single rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::containers::{Config, HostConfig, StrSlice, Ulimit};
use oci::runtime::{NamespaceType, Spec};

use super::*;
use crate::containers::record::{Mount, MountKind};

fn config() -> Config {
    Config {
        cmd: StrSlice(Some(vec!["sh".into(), "-c".into(), "true".into()])),
        env: vec!["A=1".into()],
        ..Config::default()
    }
}

fn host() -> HostConfig {
    HostConfig {
        network_mode: "bridge".into(),
        ipc_mode: "private".into(),
        cgroupns_mode: "host".into(),
        shm_size: 64 << 20,
        ..HostConfig::default()
    }
}

struct Case {
    config: Config,
    host: HostConfig,
    mounts: Vec<Mount>,
    devices: Vec<HostDevice>,
    network: Network,
    uid: u32,
}

impl Default for Case {
    fn default() -> Self {
        Case {
            config: config(),
            host: host(),
            mounts: Vec::new(),
            devices: Vec::new(),
            network: Network::Own,
            uid: 0,
        }
    }
}

impl Case {
    fn spec(&self) -> Result<Spec> {
        let user =
            Resolved { uid: self.uid, gid: self.uid, groups: vec![self.uid], home: Some("/root".into()) };
        let machine = Machine {
            cgroup2: false,
            capabilities: capabilities::ALL.to_vec(),
            apparmor: false,
            kernel: (6, 1),
        };
        spec(&Inputs {
            id: "0123456789ab",
            config: &self.config,
            host: &self.host,
            hostname: "0123456789ab",
            user: &user,
            mounts: &self.mounts,
            etc: Path::new("/r/containers/0123456789ab"),
            init: self.host.init.unwrap_or(false).then_some(Path::new("/usr/bin/dhow")),
            network: self.network,
            joined: Joined::default(),
            devices: &self.devices,
            block: &BTreeMap::new(),
            cgroup: "/dhow/0123456789ab",
            machine: &machine,
        })
    }

    /// The document without the seccomp profile, which has tests of its own and 400 names.
    fn text(&self) -> String {
        let mut spec = self.spec().unwrap();
        let linux = spec.linux.as_mut().unwrap();
        linux.seccomp = linux.seccomp.take().map(|_| oci::runtime::Seccomp::default());
        serde_json::to_string_pretty(&spec).unwrap()
    }
}

fn options<'s>(spec: &'s Spec, destination: &str) -> Vec<&'s str> {
    let mount = spec.mounts.iter().find(|m| m.destination == Path::new(destination)).unwrap();
    mount.options.iter().map(String::as_str).collect()
}

#[test]
fn the_plainest_container() {
    insta::assert_snapshot!(Case::default().text());
}

#[test]
fn a_hardened_container() {
    let mut case = Case { uid: 1000, ..Case::default() };
    case.config.tty = true;
    case.config.working_dir = "/srv".into();
    case.host.readonly_rootfs = true;
    case.host.cap_drop = StrSlice(Some(vec!["ALL".into()]));
    case.host.cap_add = StrSlice(Some(vec!["NET_BIND_SERVICE".into()]));
    case.host.security_opt = vec!["no-new-privileges".into(), "seccomp=unconfined".into()];
    case.host.tmpfs = BTreeMap::from([("/tmp".into(), "size=64m".into()), ("/run".into(), String::new())]);
    case.host.init = Some(true);
    case.host.resources.memory = 512 << 20;
    case.host.resources.memory_swap = 512 << 20;
    case.host.resources.nano_cpus = 500_000_000;
    case.host.resources.pids_limit = Some(100);
    case.host.resources.ulimits = vec![Ulimit { name: "nofile".into(), soft: 1024, hard: -1 }];
    case.host.console_size = [24, 80];
    insta::assert_snapshot!(case.text());
}

#[test]
fn a_privileged_container_sees_all() {
    let mut case = Case::default();
    case.host.privileged = true;
    let spec = case.spec().unwrap();
    let linux = spec.linux.as_ref().unwrap();
    assert!(linux.seccomp.is_none() && linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    assert_eq!(linux.resources.as_ref().unwrap().devices.len(), 1);
    assert!(options(&spec, "/sys").contains(&"rw") && options(&spec, "/sys/fs/cgroup").contains(&"rw"));
    let process = spec.process.unwrap();
    assert_eq!(process.capabilities.unwrap().effective.len(), capabilities::ALL.len());
}

#[test]
fn nothing_is_inheritable_and_users_start_without_capabilities() {
    for uid in [0, 1000] {
        let spec = Case { uid, ..Case::default() }.spec().unwrap();
        let capabilities = spec.process.unwrap().capabilities.unwrap();
        assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());
        assert_eq!(capabilities.bounding.len(), 14);
        assert_eq!(capabilities.effective.len(), if uid == 0 { 14 } else { 0 });
    }
}

#[test]
fn what_the_user_mounts_replaces_the_defaults() {
    let bind = |destination: &str| Mount {
        kind: MountKind::Bind,
        source: PathBuf::from("/host"),
        destination: destination.into(),
        rw: false,
        propagation: "rslave".into(),
        ..Mount::default()
    };
    let case = Case { mounts: vec![bind("/dev/shm"), bind("/a/b"), bind("/a")], ..Case::default() };
    let spec = case.spec().unwrap();
    assert_eq!(spec.mounts.iter().filter(|m| m.destination == Path::new("/dev/shm")).count(), 1);
    assert_eq!(options(&spec, "/dev/shm"), ["rbind", "ro", "rslave"]);
    let at = |d: &str| spec.mounts.iter().position(|m| m.destination == Path::new(d)).unwrap();
    assert!(at("/a") < at("/a/b") && at("/dev") < at("/dev/shm"));
    assert_eq!(spec.linux.unwrap().rootfs_propagation, "rslave");
    let case = Case { mounts: vec![bind("/etc/hosts")], ..Case::default() };
    assert_eq!(options(&case.spec().unwrap(), "/etc/hosts"), ["rbind", "ro", "rslave"]);
    let case = Case { mounts: vec![bind("/dev")], ..Case::default() };
    let spec = case.spec().unwrap();
    assert_eq!(spec.mounts.iter().filter(|m| m.destination.starts_with("/dev")).count(), 1);
}

#[test]
fn namespaces_follow_the_modes() {
    let kinds = |case: &Case| {
        let linux = case.spec().unwrap().linux.unwrap();
        (linux.namespaces.iter().map(|n| n.typ).collect::<Vec<_>>(), linux.sysctl.len())
    };
    let (own, sysctls) = kinds(&Case::default());
    assert_eq!(sysctls, 2);
    assert!(own.contains(&NamespaceType::Network) && !own.contains(&NamespaceType::Cgroup));
    let mut case = Case { network: Network::Host, ..Case::default() };
    case.host.pid_mode = "host".into();
    case.host.ipc_mode = "host".into();
    case.host.uts_mode = "host".into();
    case.host.cgroupns_mode = "private".into();
    assert_eq!(kinds(&case), (vec![NamespaceType::Mount, NamespaceType::Cgroup], 0));
    assert_eq!(case.spec().unwrap().hostname, "");
}

#[test]
fn system_paths_can_be_opened() {
    let mut case = Case::default();
    case.host.masked_paths = Some(Vec::new());
    case.host.readonly_paths = Some(vec!["/proc/sys".into()]);
    let linux = case.spec().unwrap().linux.unwrap();
    assert!(linux.masked_paths.is_empty());
    assert_eq!(linux.readonly_paths, ["/proc/sys"]);
    case.host.security_opt = vec!["systempaths=unconfined".into()];
    assert!(case.spec().unwrap().linux.unwrap().readonly_paths.is_empty());
}
