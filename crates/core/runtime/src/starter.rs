//! The specification that one starts from when one writes one's own: runc's, as people know it.

use std::path::PathBuf;

use oci::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceType, Process, Resources, Rlimit,
    Root, Spec,
};

use crate::defaults;

/// For a shell on a terminal in the bundle's `rootfs`. On a machine that has version 2 of control groups alone the container
/// gets a view of its own of them.
pub fn spec(unified: bool) -> Spec {
    let mut kinds = vec![
        NamespaceType::Pid,
        NamespaceType::Network,
        NamespaceType::Ipc,
        NamespaceType::Uts,
        NamespaceType::Mount,
    ];
    if unified {
        kinds.push(NamespaceType::Cgroup);
    }
    let none = DeviceRule { access: "rwm".to_owned(), ..DeviceRule::default() };
    Spec {
        oci_version: oci::runtime::VERSION.to_owned(),
        process: Some(process()),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: "runc".to_owned(),
        mounts: mounts(),
        linux: Some(Linux {
            resources: Some(Resources { devices: vec![none], ..Resources::default() }),
            namespaces: kinds.into_iter().map(|typ| Namespace { typ, path: None }).collect(),
            masked_paths: defaults::MASKED.map(str::to_owned).to_vec(),
            readonly_paths: defaults::READONLY.map(str::to_owned).to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn process() -> Process {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let few = words(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    Process {
        terminal: true,
        args: words(&["sh"]),
        env: words(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
        cwd: "/".to_owned(),
        capabilities: Some(Capabilities {
            bounding: few.clone(),
            effective: few.clone(),
            permitted: few.clone(),
            ambient: few,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { typ: "RLIMIT_NOFILE".to_owned(), soft: 1024, hard: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    }
}

fn mounts() -> Vec<Mount> {
    let table = [
        ("/proc", "proc", "proc", ""),
        ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ];
    table.map(|(to, typ, from, options)| mount(to, typ, from, options)).to_vec()
}

fn mount(to: &str, typ: &str, from: &str, options: &str) -> Mount {
    Mount {
        destination: PathBuf::from(to),
        typ: typ.to_owned(),
        source: PathBuf::from(from),
        options: options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        ..Mount::default()
    }
}

/// The same for a user without privileges: a user namespace with their own two ids, the machine's network, its `/sys`, and
/// no limits.
pub fn without_privileges(mut spec: Spec, uid: u32, gid: u32) -> Spec {
    for mount in &mut spec.mounts {
        if mount.destination.as_os_str() == "/sys" {
            *mount = self::mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro");
        }
        // Ids that are not mapped are nobody's.
        mount.options.retain(|option| !option.starts_with("uid=") && !option.starts_with("gid="));
    }
    if let Some(linux) = &mut spec.linux {
        linux.namespaces.retain(|n| !matches!(n.typ, NamespaceType::Network | NamespaceType::User));
        linux.namespaces.push(Namespace { typ: NamespaceType::User, path: None });
        let own = |host_id| vec![IdMapping { container_id: 0, host_id, size: 1 }];
        (linux.uid_mappings, linux.gid_mappings) = (own(uid), own(gid));
        linux.resources = None;
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(spec: &Spec) -> Vec<NamespaceType> {
        spec.linux.as_ref().unwrap().namespaces.iter().map(|n| n.typ).collect()
    }

    #[test]
    fn both_are_specifications_that_we_take() {
        let privileged = spec(true);
        assert_eq!(kinds(&privileged).last(), Some(&NamespaceType::Cgroup));
        crate::validate::check(&privileged).unwrap();
        let own = without_privileges(spec(false), 1000, 100);
        crate::validate::check(&own).unwrap();
        use NamespaceType::{Ipc, Mount, Pid, User, Uts};
        assert_eq!(kinds(&own), [Pid, Ipc, Uts, Mount, User]);
        let linux = own.linux.unwrap();
        assert_eq!((linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id), (1000, 100));
        let words: Vec<&String> = own.mounts.iter().flat_map(|mount| &mount.options).collect();
        assert!(words.iter().any(|word| *word == "rbind"), "{words:?}");
        assert!(!words.iter().any(|word| word.starts_with("gid=")), "{words:?}");
    }
}
