//! Why the kernel's network objects could not be brought into the wanted state.

use rustix::io::Errno;
use std::path::PathBuf;
use sys::netlink;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open netlink socket")]
    Socket(#[source] netlink::Error),
    #[error("{attempt} {ifname}")]
    Link {
        attempt: &'static str,
        ifname: String,
        #[source]
        source: netlink::Error,
    },
    #[error("list {0}")]
    List(&'static str, #[source] netlink::Error),
    #[error("existing interface {0} is not a bridge")]
    NotABridge(String),
    #[error("bridge {0} does not exist")]
    NoBridge(String),
    #[error("interface {0} vanished from the container")]
    NoInterface(String),
    #[error("{attempt} in the firewall")]
    Firewall {
        attempt: &'static str,
        #[source]
        source: netlink::Error,
    },
    /// Other programs changed the rule set again and again while ours was computed.
    #[error("the firewall changed during each attempt to {0}")]
    FirewallBusy(&'static str),
    #[error("the kernel has no nf_tables, which networks need")]
    NoFirewall(#[source] netlink::Error),
    #[error("{attempt} network namespace")]
    Namespace {
        attempt: &'static str,
        #[source]
        source: Errno,
    },
    #[error("listen for questions for names")]
    Names {
        #[source]
        source: std::io::Error,
    },
    #[error("write {value} to {}", .path.display())]
    Sysctl {
        path: PathBuf,
        value: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("packet forwarding is off and {} is read-only", .0.display())]
    ForwardingForbidden(PathBuf),
}

const WITHOUT: &str = "load the kernel module nf_tables (`modprobe nf_tables`) or run a kernel that has it; containers with \
    --network none or host need none";
const PARTLY: &str = "the kernel lacks a part of nf_tables: load nft_chain_nat, nft_masq, nft_ct and nft_reject_inet, or run \
    a kernel that has them; containers with --network none or host need none";

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::ForwardingForbidden(path) => {
                let name = path.strip_prefix("/proc/sys").unwrap_or(path).display().to_string();
                let name = name.trim_start_matches('/').replace('/', ".");
                Some(format!("run `sysctl -w {name}=1` outside of this container or sandbox"))
            }
            Error::NoFirewall(_) => Some(WITHOUT.into()),
            Error::Firewall { source, .. } | Error::List(_, source) => {
                let lacking = [Errno::OPNOTSUPP, Errno::NOENT, Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT];
                source.refusal().filter(|errno| lacking.contains(errno)).map(|_| PARTLY.into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_said_with_the_way_to_get_it() {
        let refused = |errno| netlink::Error::Refused { index: 0, errno, message: None };
        let hint = |errno| Error::Firewall { attempt: "publish ports", source: refused(errno) }.hint();
        assert!(hint(Errno::OPNOTSUPP).unwrap().contains("nft_chain_nat"));
        assert_eq!(hint(Errno::BUSY), None);
        assert!(Error::List("rules", refused(Errno::PROTONOSUPPORT)).hint().is_some());
        let absent = Error::NoFirewall(netlink::Error::Open(Errno::PROTONOSUPPORT));
        assert!(absent.hint().unwrap().contains("--network none or host"), "{absent}");
    }
}
