//! What this runtime knows, as the specification's features document: read off the tables that the code itself goes by.
//! Whether the machine at hand can do it is another question, but for the flags of system call filters.

use std::collections::BTreeMap;

use oci::features::{
    Cgroup, Enabled, Features, IntelRdt, Linux, MemoryPolicy, MountExtensions, Seccomp, words,
};
use oci::runtime::{Hooks, NamespaceType, SeccompAction, SeccompOp};

use crate::{capabilities, memory_policy, namespaces, options, seccomp};

/// The oldest version whose documents mean what we take them for.
const OLDEST: &str = "1.0.0";

/// The document, without annotations: they are for whoever is the program.
pub fn features() -> Features {
    Features {
        oci_version_min: OLDEST.to_owned(),
        oci_version_max: oci::runtime::VERSION.to_owned(),
        hooks: Hooks::default().kinds().map(|(kind, _)| kind.to_owned()).to_vec(),
        mount_options: options::words(),
        linux: linux(),
        annotations: BTreeMap::new(),
        potentially_unsafe_config_annotations: vec![crate::cgroup::systemd::ANNOTATION.to_owned()],
    }
}

fn linux() -> Linux {
    let yes = Enabled { enabled: true };
    let (modes, flags) = memory_policy::names();
    let mut namespaces: Vec<NamespaceType> = namespaces::kinds().collect();
    namespaces.sort_unstable_by_key(|kind| serde_json::to_string(kind).unwrap_or_default());
    Linux {
        namespaces,
        capabilities: capabilities::all().collect(),
        cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
        seccomp: filters(),
        apparmor: yes,
        selinux: yes,
        intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
        memory_policy: MemoryPolicy { modes, flags },
        mount_extensions: MountExtensions { idmap: yes },
        net_devices: yes,
    }
}

fn filters() -> Seccomp {
    let flags: Vec<(&str, bool)> = seccomp::known_flags().collect();
    let names = |supported: bool| {
        let some = flags.iter().filter(|(_, taken)| *taken || !supported);
        some.map(|(name, _)| (*name).to_owned()).collect()
    };
    let mut archs = seccomp::ARCHITECTURES.map(str::to_owned).to_vec();
    archs.sort_unstable();
    Seccomp {
        enabled: true,
        actions: words::<SeccompAction>(),
        operators: words::<SeccompOp>(),
        archs,
        known_flags: names(false),
        supported_flags: names(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_the_code_takes() {
        let features = features();
        let linux = &features.linux;
        assert_eq!(linux.namespaces.len(), 8);
        assert_eq!(linux.namespaces.first(), Some(&NamespaceType::Cgroup));
        assert_eq!(features.hooks.len(), 6);
        // What every kernel that we run on has.
        let plain = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"];
        assert!(plain.iter().all(|flag| linux.seccomp.supported_flags.iter().any(|has| has == flag)));
        for arch in &linux.seccomp.archs {
            let profile = oci::runtime::Seccomp { architectures: vec![arch.clone()], ..Default::default() };
            assert!(seccomp::compile(&profile, seccomp::Arch::HOST).is_ok(), "{arch}");
        }
        for flag in &linux.seccomp.known_flags {
            let profile = oci::runtime::Seccomp { flags: vec![flag.clone()], ..Default::default() };
            assert!(seccomp::compile(&profile, seccomp::Arch::HOST).is_ok(), "{flag}");
        }
    }
}
