//! Kernel parameters: only those that belong to a namespace of the container, written through a private
//! procfs.

use oci::runtime::{Linux, NamespaceType};
use sys::child::Step;

use crate::Error;
use crate::namespaces::is_own;
use crate::plan::{Plan, c_string};

/// Parameters of IPC namespaces besides `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Refuses a parameter that would change the machine.
pub(crate) fn check(linux: &Linux) -> Result<(), Error> {
    for (name, value) in &linux.sysctl {
        // The kernel reads up to the first line's end, whatever the rest was meant to be.
        if value.trim_end_matches('\n').contains(|c: char| c.is_control() && c != '\t') {
            return Err(Error::Spec { reason: format!("sysctl {name:?} has more than one line: {value:?}") });
        }
        let dotted = name.replace('/', ".");
        if dotted == "kernel.hostname" {
            let reason =
                format!("sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field");
            return Err(Error::Spec { reason });
        }
        let typ = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            Some(NamespaceType::Ipc)
        } else if dotted.starts_with("net.") {
            Some(NamespaceType::Network)
        } else if dotted == "kernel.domainname" {
            Some(NamespaceType::Uts)
        } else {
            None
        };
        let namespace = typ.and_then(|typ| linux.namespace(typ));
        if let Some(path) = namespace.and_then(|namespace| namespace.path.as_deref())
            && typ.is_some_and(|typ| is_own(typ, path))
        {
            return Err(Error::Spec {
                reason: format!(
                    "sysctl {name:?} not allowed in the machine's own namespace {}",
                    path.display()
                ),
            });
        }
        let own = namespace.is_some();
        if !own || name.split(['/', '.']).any(str::is_empty) {
            return Err(Error::Spec {
                reason: format!("sysctl {name:?} is not in a separate kernel namespace"),
            });
        }
    }
    Ok(())
}

pub(crate) fn plan(linux: &Linux, plan: &mut Plan) -> Result<(), Error> {
    for (name, value) in &linux.sysctl {
        // With slashes a name can hold dots, as those of network interfaces do.
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let step = Step::WriteProc {
            path: c_string(format!("sys/{path}"), "a sysctl")?,
            content: value.clone().into_bytes(),
            optional: false,
        };
        plan.push(format!("set sysctl {name}"), step);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci::runtime::Namespace;

    use super::*;

    fn checked(name: &str, typ: NamespaceType) -> bool {
        let linux = Linux {
            sysctl: [(name.to_owned(), "1".to_owned())].into(),
            namespaces: vec![Namespace { typ, path: None }],
            ..Linux::default()
        };
        check(&linux).is_ok()
    }

    #[test]
    fn a_namespace_of_the_machine_is_not_the_containers() {
        let path = Some("/proc/self/ns/net".into());
        let linux = Linux {
            sysctl: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
            namespaces: vec![Namespace { typ: NamespaceType::Network, path }],
            ..Linux::default()
        };
        assert!(check(&linux).unwrap_err().to_string().contains("machine's own namespace"));
    }

    #[test]
    fn only_parameters_of_own_namespaces_pass() {
        assert!(checked("net.ipv4.ip_forward", NamespaceType::Network));
        assert!(checked("net/ipv4/conf/eth0.1/forwarding", NamespaceType::Network));
        assert!(!checked("net.ipv4.ip_forward", NamespaceType::Ipc));
        assert!(checked("kernel.shmmax", NamespaceType::Ipc));
        assert!(!checked("kernel.core_pattern", NamespaceType::Ipc));
        assert!(!checked("net.../../kernel/core_pattern", NamespaceType::Network));
        assert!(!checked("net/../kernel/core_pattern", NamespaceType::Network));
    }
}
