//! HTTP connections: which library client and which scheme a registry host gets.

use crate::client::Config;
use crate::error::Error;
use crate::redirect::is_internal;
use ipnet::IpNet;
use reqwest::{Url, redirect};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Docker Hub's API has another host than its name says.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may be silent.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// How far a host is trusted to be who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Its certificate is verified.
    Verified,
    /// The administrator says that it need not be.
    Unverified,
    /// It is this machine: nothing is verified, and no proxy stands between.
    Local,
}

#[derive(Debug)]
pub(crate) struct Transport {
    config: Config,
    /// One library client for each degree of trust, made when it is first needed: reading the root
    /// certificates takes time, and a machine without any can still use its local registry.
    clients: [OnceLock<reqwest::Client>; 3],
    /// The same for uploads: while we send, nothing comes back for as long as it takes.
    uploads: [OnceLock<reqwest::Client>; 3],
    /// The root of each host's API, once known.
    roots: Mutex<HashMap<String, Url>>,
}

impl Transport {
    pub(crate) fn new(config: Config) -> Transport {
        Transport {
            config,
            clients: Default::default(),
            uploads: Default::default(),
            roots: Mutex::default(),
        }
    }

    /// The library client for a request to `url`.
    pub(crate) fn http(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        self.client(url, &self.clients, Some(READ_PATIENCE))
    }

    /// The library client for sending something large to `url`.
    pub(crate) fn uploads(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        self.client(url, &self.uploads, None)
    }

    fn client<'c>(
        &self,
        url: &Url,
        clients: &'c [OnceLock<reqwest::Client>; 3],
        patience: Option<Duration>,
    ) -> Result<&'c reqwest::Client, Error> {
        let trust = self.trust(url);
        let slot = &clients[trust as usize];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = self.build(trust, patience).map_err(Error::Tls)?;
        Ok(slot.get_or_init(|| client))
    }

    fn trust(&self, url: &Url) -> Trust {
        let insecure = url.host_str().is_some_and(|host| self.is_insecure(host, url.port()));
        match (is_internal(url), url.scheme() == "http" || insecure) {
            (true, _) => Trust::Local,
            (false, true) => Trust::Unverified,
            (false, false) => Trust::Verified,
        }
    }

    fn build(&self, trust: Trust, patience: Option<Duration>) -> Result<reqwest::Client, reqwest::Error> {
        // Fails when the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .user_agent(&self.config.user_agent)
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_PATIENCE);
        let builder = match patience {
            Some(patience) => builder.read_timeout(patience),
            None => builder,
        };
        match trust {
            Trust::Verified => builder,
            Trust::Unverified => builder.tls_danger_accept_invalid_certs(true),
            Trust::Local => builder.tls_danger_accept_invalid_certs(true).no_proxy(),
        }
        .build()
    }

    /// The root of the host's API, e.g. `https://registry-1.docker.io/v2/`. A registry that may be insecure
    /// is asked by HTTPS first and without encryption when that does not work, as Docker does.
    pub(crate) async fn root(&self, domain: &str) -> Result<Url, Error> {
        if let Some(root) = self.lock_roots().get(domain) {
            return Ok(root.clone());
        }
        let host = if domain == HUB { HUB_HOST } else { domain };
        let secure = root_url("https", host)?;
        let root = match self.is_insecure(secure.host_str().unwrap_or_default(), secure.port()) {
            false => secure,
            true if self.speaks(&secure).await? => secure,
            true => root_url("http", host)?,
        };
        self.lock_roots().insert(domain.to_owned(), root.clone());
        Ok(root)
    }

    async fn speaks(&self, root: &Url) -> Result<bool, Error> {
        Ok(self.http(root)?.get(root.clone()).send().await.is_ok())
    }

    fn lock_roots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Url>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the host may be spoken to without verified encryption: this machine itself, and what the
    /// administrator listed, as `host`, `host:port` or a subnet.
    fn is_insecure(&self, host: &str, port: Option<u16>) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback()) {
            return true;
        }
        let with_port = format!("{host}:{}", port.unwrap_or(443));
        self.config.insecure.iter().any(|entry| {
            let subnet = entry.parse::<IpNet>().ok();
            entry == host
                || *entry == with_port
                || subnet.zip(address).is_some_and(|(subnet, address)| subnet.contains(&address))
        })
    }
}

fn root_url(scheme: &str, host: &str) -> Result<Url, Error> {
    let text = format!("{scheme}://{host}/v2/");
    Url::parse(&text).map_err(|_| Error::Protocol { url: text, problem: crate::error::Problem::BadRedirect })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_hosts_may_be_insecure() {
        let insecure = ["10.0.0.0/8", "reg.lan", "reg.corp:5000"].map(str::to_owned).to_vec();
        let transport = Transport::new(Config { insecure, ..Config::default() });
        for (host, port) in [
            ("localhost", Some(5000)),
            ("127.9.9.9", None),
            ("[::1]", Some(5000)),
            ("10.1.2.3", Some(80)),
            ("reg.lan", Some(1)),
            ("reg.corp", Some(5000)),
        ] {
            assert!(transport.is_insecure(host, port), "{host}");
        }
        for (host, port) in
            [("docker.io", None), ("11.1.2.3", None), ("reg.corp", None), ("localhost.evil.example", None)]
        {
            assert!(!transport.is_insecure(host, port), "{host}");
        }
    }

    #[tokio::test]
    async fn the_hub_has_another_host() {
        let transport = Transport::new(Config::default());
        assert_eq!(transport.root("docker.io").await.unwrap().as_str(), "https://registry-1.docker.io/v2/");
        assert_eq!(transport.root("ghcr.io").await.unwrap().as_str(), "https://ghcr.io/v2/");
    }
}
