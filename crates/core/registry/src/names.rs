//! Host names to addresses, without libc.
//!
//! A name that a registry leads us to is a stranger's: it is not followed to this machine itself or to its network link, where
//! clouds keep their metadata servers, unless the registry is there too. Addresses written as such are looked at before
//! (`redirect`); what a name stands for is known here only.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;

use crate::redirect::{is_internal, is_internal_address};

/// Shared by all connections of a client.
#[derive(Clone, Default)]
pub(crate) struct Names {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    resolver: OnceCell<TokioResolver>,
    /// Names that strangers led us to.
    guarded: RwLock<HashSet<String>>,
    /// Names that stand for this machine.
    internal: RwLock<HashSet<String>>,
}

/// Why a name is not followed.
#[derive(Debug, thiserror::Error)]
#[error("{0} is an address of this machine or its network link")]
pub(crate) struct InternalName(pub String);

/// A name without an address, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("lookup {name}: {reason}")]
pub(crate) struct Unresolved {
    name: String,
    reason: String,
}

impl Unresolved {
    fn new(name: &str, error: NetError) -> Unresolved {
        let reason = match error {
            error if error.is_no_records_found() => "no such host".to_owned(),
            NetError::NoConnections => "no name server answers".to_owned(),
            error => error.to_string(),
        };
        Unresolved { name: name.to_owned(), reason }
    }
}

impl Names {
    /// Makes sure that `to` is followed to no internal address when `from` has led there.
    pub(crate) fn guard(&self, from: &Url, to: &Url) {
        let (Some(here), Some(there)) = (from.host_str(), to.host_str()) else { return };
        if here == there || is_internal(from) || read(&self.state.internal).contains(here) {
            return;
        }
        write(&self.state.guarded).insert(there.to_owned());
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let state = &names.state;
            let resolver = state.resolver.get_or_try_init(async || new_resolver()).await?;
            let found = resolver.lookup_ip(name.as_str()).await;
            let found = found.map_err(|error| Unresolved::new(name.as_str(), error))?;
            let all: Vec<IpAddr> = found.iter().collect();
            let outside: Vec<IpAddr> = all.iter().copied().filter(|ip| !is_internal_address(*ip)).collect();
            if outside.len() < all.len() {
                if read(&state.guarded).contains(name.as_str()) {
                    return Err(InternalName(name.as_str().to_owned()).into());
                }
                write(&state.internal).insert(name.as_str().to_owned());
            }
            let addresses = all.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

fn read(set: &RwLock<HashSet<String>>) -> std::sync::RwLockReadGuard<'_, HashSet<String>> {
    set.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(set: &RwLock<HashSet<String>>) -> std::sync::RwLockWriteGuard<'_, HashSet<String>> {
    set.write().unwrap_or_else(PoisonError::into_inner)
}

/// By `/etc/hosts` and `/etc/resolv.conf`; both kinds of addresses, of which the first that answers is taken.
fn new_resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()
        .unwrap_or_else(|_| TokioResolver::builder_with_config(here(), TokioRuntimeProvider::default()));
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    builder.build()
}

/// Who names no server has one on this machine (resolv.conf(5)), or none: names of hosts are not told to strangers.
fn here() -> ResolverConfig {
    let servers = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    ResolverConfig::from_parts(None, vec![], servers.map(NameServerConfig::udp_and_tcp).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(names: &Names) -> bool {
        names.resolve("localhost".parse().unwrap()).await.is_ok()
    }

    #[test]
    fn without_settings_only_this_machine_is_asked() {
        let servers: Vec<IpAddr> = here().name_servers().iter().map(|server| server.ip).collect();
        assert!(!servers.is_empty() && servers.iter().all(IpAddr::is_loopback), "{servers:?}");
    }

    /// `localhost` stands for any name that means this machine.
    #[tokio::test]
    async fn strangers_do_not_lead_here() {
        let url = |text: &str| Url::parse(text).unwrap();
        let here = url("https://localhost/token");
        let names = Names::default();
        assert!(found(&names).await, "the user may");
        for from in ["http://127.0.0.1:5000/", "https://localhost:5000/"] {
            names.guard(&url(from), &here);
            assert!(found(&names).await, "and so may a registry that is here: {from}");
        }
        names.guard(&url("https://reg.example/v2/"), &here);
        let refused = names.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(refused.downcast_ref::<InternalName>().is_some(), "{refused}");
    }
}
