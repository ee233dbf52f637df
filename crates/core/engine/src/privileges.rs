//! What the kernel lets this process do, asked before anything is made: a refusal in the middle of a start would name a
//! system call, where a person needs the name of the privilege and of who can give it.

use std::sync::Once;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::error::{Error, Kind, Result};

/// A capability without which something does not work.
struct Need {
    set: CapabilitySet,
    name: &'static str,
    purpose: &'static str,
}

/// For every container.
const CONTAINERS: [Need; 4] = [
    Need { set: CapabilitySet::SYS_ADMIN, name: "SYS_ADMIN", purpose: "namespaces and mounts" },
    Need { set: CapabilitySet::DAC_OVERRIDE, name: "DAC_OVERRIDE", purpose: "root file systems" },
    Need { set: CapabilitySet::SETGID, name: "SETGID", purpose: "a container's groups" },
    Need { set: CapabilitySet::SETPCAP, name: "SETPCAP", purpose: "a container's capabilities" },
];

/// For containers and networks with interfaces.
const NETWORKS: [Need; 1] = [Need {
    set: CapabilitySet::NET_ADMIN,
    name: "NET_ADMIN",
    purpose: "networks; --network host or none need none",
}];

/// What a container needs of the network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Somebody else's, as it is.
    Shared,
    /// A namespace with nothing but its loopback.
    Empty,
    /// Interfaces on bridges.
    Connected,
}

/// Refuses a container that cannot work here.
pub(crate) fn for_container(network: Network) -> Result<()> {
    static SAID: Once = Once::new();
    let networks: &[Need] = if network == Network::Connected { &NETWORKS } else { &[] };
    let held = held();
    refuse(&missing(held, CONTAINERS.iter().chain(networks)))?;
    if network == Network::Empty && !held.contains(CapabilitySet::NET_ADMIN) {
        SAID.call_once(|| {
            tracing::warn!("CAP_NET_ADMIN is missing: the loopback interface of containers with --network none stays down");
        });
    }
    Ok(())
}

/// What is missing when a file of an image could not be made for want of rights, and how to get it.
pub(crate) fn for_files(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(archive::Error::Entry { source, .. }) = error.downcast_ref() {
            let errno = Errno::from_io_error(source)?;
            return match errno {
                Errno::PERM | Errno::ACCESS => Some(
                    "images keep the owners of their files, which only root may give away: run this as root, or name the \
                     socket of a daemon that runs as root with DOCKER_HOST",
                ),
                Errno::INVAL if !is_outermost() => Some(
                    "its owner has no number in this user namespace: run this as the machine's own root, or give the \
                     namespace all numbers of /etc/subuid and /etc/subgid (unshare --map-root-user --map-auto)",
                ),
                _ => None,
            };
        }
        cause = error.source();
    }
    None
}

/// Whether user and group numbers are the machine's.
fn is_outermost() -> bool {
    const ALL: &str = "0 0 4294967295";
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>().join(" ") == ALL
}

/// `error` of a container that did not start, with what the kernel does not say: in a user namespace the capabilities are
/// all there, and worth nothing for what belongs to the machine.
pub(crate) fn explained(error: Error) -> Error {
    if error.kind == Kind::System
        && let Some(way) = way_out(&error.message)
    {
        return Error::system(format!("{}: {way}", error.message));
    }
    if is_outermost() || error.kind != Kind::System || error.message.contains(FILTERED) {
        return error;
    }
    Error::system(format!(
        "{}: this runs in a user namespace, whose root owns nothing of the machine: run this as the machine's own root, \
         or give the namespace mounts and networks of its own (unshare --user --map-root-user --mount --net)",
        error.message
    ))
}

/// What to do about a refusal of the kernel's, or a system call that it does not have, by what was said of it; `None` if that
/// was not the matter, or has been said.
pub(crate) fn way_out(said: &str) -> Option<String> {
    let lower = said.to_ascii_lowercase();
    let absent = lower.contains("function not implemented");
    if !absent && !lower.contains("operation not permitted") {
        return None;
    }
    let way = match refuse(&missing(held(), CONTAINERS.iter())) {
        Err(error) if !absent => error.message,
        _ if is_filtered() => FILTERED.to_owned(),
        _ if absent => OLD.to_owned(),
        _ => return None,
    };
    (!said.contains(&way)).then_some(way)
}

const FILTERED: &str = "a seccomp filter is on this process: inside of a container, give that one --privileged or \
    --security-opt seccomp=unconfined";
const OLD: &str = "this kernel lacks a system call that is needed: use Linux 5.12 or newer";

/// Whether some system calls are refused to this process, whatever its capabilities.
fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// What a person should know of this machine before something fails, one line each.
pub(crate) fn warnings() -> Vec<String> {
    let missing = missing(held(), CONTAINERS.iter().chain(&NETWORKS));
    missing
        .iter()
        .map(|need| format!("WARNING: CAP_{} is missing: it is needed for {}", need.name, need.purpose))
        .collect()
}

/// The capabilities that this thread can use; all if the kernel does not say.
fn held() -> CapabilitySet {
    rustix::thread::capabilities(None).map_or(CapabilitySet::all(), |sets| sets.effective)
}

/// Whether limits may be raised above those of this process.
pub(crate) fn raises_limits() -> bool {
    held().contains(CapabilitySet::SYS_RESOURCE) && is_outermost()
}

fn missing<'n>(held: CapabilitySet, needs: impl Iterator<Item = &'n Need>) -> Vec<&'n Need> {
    needs.filter(|need| !held.contains(need.set)).collect()
}

/// Why something could not be looked at, with what is missing to look at it.
pub(crate) fn unchecked(reason: &str) -> String {
    let refused = ["not permitted", "ermission denied"].iter().any(|words| reason.contains(words));
    if !refused {
        return reason.to_owned();
    }
    if let Err(error) = refuse(&missing(held(), CONTAINERS.iter().chain(&NETWORKS))) {
        return format!("{reason}: {}", error.message);
    }
    if !is_outermost() {
        return format!(
            "{reason}: this runs in a user namespace, whose root owns nothing of the machine: run this as the machine's own root"
        );
    }
    if is_filtered() {
        return format!(
            "{reason}: a seccomp filter is on this process: inside of a container, give that one --privileged or \
             --security-opt seccomp=unconfined"
        );
    }
    reason.to_owned()
}

fn refuse(missing: &[&Need]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let list = |word: &dyn Fn(&Need) -> String, between| {
        missing.iter().map(|need| word(need)).collect::<Vec<_>>().join(between)
    };
    Err(Error::forbidden(format!(
        "missing privileges: {}: run this as root, or name the socket of a daemon that runs as root with DOCKER_HOST; \
         inside of a container, give that one --privileged or {}",
        list(&|need| format!("CAP_{} (for {})", need.name, need.purpose), ", "),
        list(&|need| format!("--cap-add {}", need.name), " "),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        let told = |held: CapabilitySet| {
            refuse(&missing(held, CONTAINERS.iter().chain(&NETWORKS))).map_err(|error| error.message)
        };
        assert_eq!(told(CapabilitySet::all()), Ok(()));
        let error =
            told(CapabilitySet::all() - CapabilitySet::SYS_ADMIN - CapabilitySet::NET_ADMIN).unwrap_err();
        assert!(error.starts_with(
            "missing privileges: CAP_SYS_ADMIN (for namespaces and mounts), CAP_NET_ADMIN (for "
        ));
        assert!(error.ends_with("--privileged or --cap-add SYS_ADMIN --cap-add NET_ADMIN"), "{error}");
    }
}
