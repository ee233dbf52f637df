//! What the administrator says of registries: where one is reached, by which mirrors, who is trusted.
//!
//! Dhow's own place is a folder for each registry in `/etc/dhow/certs.d`: `hosts.toml` as containerd reads it, and certificates
//! as Docker has them. The same trees of containerd, Docker and Podman are read after it, and so are Podman's
//! `registries.conf` and dockerd's `daemon.json`. For the mirrors of a registry the first of these counts that names some:
//! `hosts.toml`, `registries.conf`, `daemon.json`. Certificates, and who may be spoken to without, are taken from all.
//! An error in one of these files names the file, the line and the key.

mod certificates;
mod docker;
mod hosts;
mod podman;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use crate::client::Config;
use crate::error::Error;
use crate::proxy;
use crate::redirect::is_internal;

/// Docker Hub's API has another host than its name says.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";
/// Bytes of a file that is read.
const FILE_MAX: u64 = 1 << 20;

/// Where the files lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Trees with a folder for each registry. Of several `hosts.toml` the first counts, certificates count all.
    pub certs: Vec<PathBuf>,
    /// Podman's `registries.conf`; what lies in the folder of this name with `.d` is read after it.
    pub registries_conf: Option<PathBuf>,
    /// dockerd's `daemon.json`.
    pub daemon_json: Option<PathBuf>,
}

impl Places {
    /// As they lie below `/etc`, or below a user's folder of configuration.
    pub fn below(etc: &Path) -> Places {
        let trees = ["dhow", "containerd", "docker", "containers"];
        Places {
            certs: trees.iter().map(|owner| etc.join(owner).join("certs.d")).collect(),
            registries_conf: Some(etc.join("containers/registries.conf")),
            daemon_json: Some(etc.join("docker/daemon.json")),
        }
    }
}

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: larger than {FILE_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    /// With the key, where there is one.
    #[error("{}:{line}: {problem}", path.display())]
    Text { path: PathBuf, line: usize, problem: String },
    /// A value that is well formed and means nothing.
    #[error("{}: {key}: {problem}", path.display())]
    Value { path: PathBuf, key: String, problem: String },
    #[error("{}: no certificate in PEM format", .0.display())]
    NoCertificate(PathBuf),
    #[error("{}: no private key in PEM format", .0.display())]
    NoKey(PathBuf),
    #[error("{}: {problem}", path.display())]
    Certificate { path: PathBuf, problem: String },
    #[error(
        "missing key {} for client certificate {}. CA certificates must use the extension .crt",
        key.display(), certificate.display()
    )]
    MissingKey { key: PathBuf, certificate: PathBuf },
    #[error("missing client certificate {} for key {}", certificate.display(), key.display())]
    MissingCertificate { key: PathBuf, certificate: PathBuf },
    #[error("{}: several client certificates, of which one can be used", .0.display())]
    SeveralIdentities(PathBuf),
}

/// What a host may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Can {
    /// Manifests by their digest, and blobs.
    pub pull: bool,
    /// What a tag stands for.
    pub resolve: bool,
    pub push: bool,
}

impl Can {
    const ALL: Can = Can { pull: true, resolve: true, push: true };
    const READ: Can = Can { pull: true, resolve: true, push: false };
}

/// Whether a host that is addressed by its name alone may be spoken to by plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Never,
    /// Where the host is said to be insecure.
    IfInsecure,
    Allowed,
}

/// How far a host is trusted to be who it says, and how we show who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    /// Its certificate need not be verified: the administrator says so, or it is this machine.
    pub unverified: bool,
    /// It is this machine: no proxy stands between.
    pub local: bool,
    /// Files with authorities, besides the system's.
    pub authorities: Vec<PathBuf>,
    /// Files with our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long it may take to connect.
    pub dial: Option<Duration>,
}

/// One way to a repository.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The root of the host's API: `https://registry-1.docker.io/v2/`.
    pub root: Url,
    /// Whether plain HTTP is tried where HTTPS does not work.
    pub plain: Plain,
    /// The repository's name there.
    pub path: String,
    pub can: Can,
    pub tls: Tls,
    /// Sent with each request.
    pub headers: HeaderMap,
    /// The registry that a mirror stands for, which it is told.
    pub namespace: Option<String>,
    /// It is the registry itself, and no mirror: credentials are for it.
    pub is_registry: bool,
}

/// The files' content. Trees are read when a host is asked for: they may be large.
#[derive(Debug)]
pub(crate) struct Settings {
    certs: Vec<PathBuf>,
    /// Mirrors of Docker Hub.
    mirrors: Vec<Url>,
    insecure: Vec<String>,
    registries: Vec<podman::Registry>,
    proxies: proxy::Routes,
    notices: Vec<String>,
}

impl Settings {
    pub(crate) fn read(config: &Config) -> Result<Settings, InvalidSettings> {
        let mut settings = Settings {
            certs: config.places.certs.clone(),
            mirrors: Vec::new(),
            insecure: config.insecure.clone(),
            registries: Vec::new(),
            proxies: proxy::Routes::default(),
            notices: Vec::new(),
        };
        let mut proxies = config.proxies.clone();
        for mirror in &config.mirrors {
            settings.mirrors.push(docker::mirror(mirror).map_err(|problem| InvalidSettings::Value {
                path: PathBuf::from("registry-mirror"),
                key: mirror.clone(),
                problem,
            })?);
        }
        if let Some(path) = &config.places.daemon_json {
            let found = docker::read(path)?;
            settings.mirrors.extend(found.mirrors);
            settings.insecure.extend(found.insecure);
            proxies = found.proxies.or(&proxies);
        }
        if let Some(path) = &config.places.registries_conf {
            settings.registries = podman::read(path)?;
        }
        let (routes, wrong) = proxies.read();
        let notice = |name| format!("{name} is not an address of a proxy: what it is for goes directly");
        (settings.proxies, settings.notices) = (routes, wrong.into_iter().map(notice).collect());
        Ok(settings)
    }

    /// What the user should know of them.
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Which request goes through which proxy.
    pub(crate) fn proxies(&self) -> &proxy::Routes {
        &self.proxies
    }

    /// Mirrors of Docker Hub.
    pub(crate) fn mirrors(&self) -> &[Url] {
        &self.mirrors
    }

    /// Who may be spoken to without verified encryption.
    pub(crate) fn insecure(&self) -> Vec<String> {
        let podman = self.registries.iter().filter(|registry| registry.insecure);
        self.insecure.iter().cloned().chain(podman.map(|registry| registry.prefix.clone())).collect()
    }

    /// The ways to a repository in the order in which they are to be tried: mirrors, then the registry itself.
    pub(crate) fn routes(&self, domain: &str, path: &str) -> Result<Vec<Route>, Error> {
        let podman = podman::find(&self.registries, domain, path);
        if let Some(registry) = podman.filter(|registry| registry.blocked) {
            let name = format!("{domain}/{path}");
            return Err(Error::Blocked { name, file: registry.file.clone() });
        }
        let mut routes = match (hosts::find(&self.certs, domain)?, podman) {
            (Some(hosts), _) => hosts.routes(domain, path)?,
            (None, Some(registry)) => registry.routes(domain, path)?,
            (None, None) => self.plain_routes(domain, path)?,
        };
        for route in &mut routes {
            self.finish(route, podman.is_some_and(|registry| registry.insecure))?;
        }
        Ok(routes)
    }

    /// Docker's own: mirrors of the Hub, and each host by its name.
    fn plain_routes(&self, domain: &str, path: &str) -> Result<Vec<Route>, InvalidSettings> {
        let mut routes = Vec::new();
        if domain == HUB {
            for mirror in &self.mirrors {
                let mut route = Route::mirror(mirror.clone(), path);
                route.root = below(mirror, "v2/");
                routes.push(route);
            }
        }
        routes.push(Route::registry(domain, path)?);
        Ok(routes)
    }

    /// Adds what is said of the route's host.
    fn finish(&self, route: &mut Route, insecure: bool) -> Result<(), InvalidSettings> {
        let found = self.tls(&route.root)?;
        let insecure = (insecure && route.is_registry) || found.unverified;
        if route.plain == Plain::IfInsecure {
            route.plain = if insecure { Plain::Allowed } else { Plain::Never };
        }
        let tls = &mut route.tls;
        tls.unverified |= insecure;
        tls.local = found.local;
        tls.authorities.extend(found.authorities);
        tls.identity = tls.identity.take().or(found.identity);
        Ok(())
    }

    /// How a host is trusted that nobody but its own name speaks of.
    pub(crate) fn tls(&self, url: &Url) -> Result<Tls, InvalidSettings> {
        let insecure = url.host_str().is_some_and(|host| self.is_insecure(host, url.port()));
        let mut tls =
            Tls { unverified: insecure || url.scheme() == "http", local: is_internal(url), ..Tls::default() };
        if let Some(host) = url.host_str() {
            let name = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
            certificates::add(&mut tls, &self.certs, &name)?;
            if name == HUB_HOST {
                certificates::add(&mut tls, &self.certs, HUB)?;
            }
        }
        Ok(tls)
    }

    /// Whether the host may be spoken to without verified encryption: this machine itself, and what the
    /// administrator listed, as `host`, `host:port` or a subnet.
    pub(crate) fn is_insecure(&self, host: &str, port: Option<u16>) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback()) {
            return true;
        }
        let with_port = format!("{host}:{}", port.unwrap_or(443));
        self.insecure.iter().any(|entry| {
            let subnet = entry.parse::<IpNet>().ok();
            entry == host
                || *entry == with_port
                || subnet.zip(address).is_some_and(|(subnet, address)| subnet.contains(&address))
        })
    }
}

impl Route {
    /// The registry that a name means when no file says anything of it.
    fn registry(domain: &str, path: &str) -> Result<Route, InvalidSettings> {
        let host = if domain == HUB { HUB_HOST } else { domain };
        let text = format!("https://{host}/v2/");
        let root = Url::parse(&text).map_err(|error| InvalidSettings::Value {
            path: PathBuf::from(host),
            key: text,
            problem: error.to_string(),
        })?;
        Ok(Route { plain: Plain::IfInsecure, can: Can::ALL, is_registry: true, ..Route::mirror(root, path) })
    }

    fn mirror(root: Url, path: &str) -> Route {
        Route {
            root,
            plain: Plain::Never,
            path: path.to_owned(),
            can: Can::READ,
            tls: Tls::default(),
            headers: HeaderMap::new(),
            namespace: None,
            is_registry: false,
        }
    }

    /// Scheme, host and port, for people.
    pub(crate) fn shown(&self) -> String {
        self.root.origin().ascii_serialization()
    }
}

/// A path below an address that may have one.
fn below(base: &Url, rest: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{rest}", base.path().trim_end_matches('/')));
    url
}

/// A file that may be missing.
fn file(path: &Path) -> Result<Option<String>, InvalidSettings> {
    let fail = |source| InvalidSettings::Read { path: path.to_owned(), source };
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    if size > FILE_MAX {
        return Err(InvalidSettings::TooLong(path.to_owned()));
    }
    std::fs::read_to_string(path).map(Some).map_err(fail)
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Reads a document of TOML.
fn toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, InvalidSettings> {
    let fail = |key: Option<String>, error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        let problem = match key.filter(|key| key != ".") {
            Some(key) => format!("{key}: {}", error.message()),
            None => error.message().to_owned(),
        };
        InvalidSettings::Text { path: path.to_owned(), line, problem }
    };
    let document = toml::Deserializer::parse(text).map_err(|error| fail(None, error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        fail(Some(key), error.into_inner())
    })
}

#[cfg(test)]
mod tests;
