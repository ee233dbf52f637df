//! containerd's `hosts.toml` in `certs.d/HOST[:PORT]/`, or in `certs.d/_default/` for hosts without a folder: which hosts are asked in
//! place of a registry, in the file's order, and how the registry itself is reached.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{Can, HUB, HUB_HOST, InvalidSettings, Plain, Route, below, file, toml};

/// A file, with the folder that relative paths in it start at.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    document: Document,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Document {
    server: Option<String>,
    capabilities: Option<Vec<Capability>>,
    ca: Option<Ca>,
    client: Option<Identity>,
    skip_verify: bool,
    override_path: bool,
    header: Headers,
    dial_timeout: Option<String>,
    host: Ordered<Host>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Host {
    capabilities: Option<Vec<Capability>>,
    ca: Option<Ca>,
    client: Option<Identity>,
    skip_verify: bool,
    override_path: bool,
    header: Headers,
    dial_timeout: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Capability {
    Pull,
    Resolve,
    Push,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
enum Ca {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a path, or a list of paths or of pairs of certificate and key")]
enum Identity {
    One(PathBuf),
    Many(Vec<Pair>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a path or a pair of certificate and key")]
enum Pair {
    /// Both in one file.
    File(PathBuf),
    Files(PathBuf, PathBuf),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

type Headers = Ordered<Texts>;

/// A table whose order means something.
#[derive(Debug)]
struct Ordered<T>(Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Ordered<T> {
        Ordered(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ordered<T>, D::Error> {
        struct Lines<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Lines<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut found = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    found.push(entry);
                }
                Ok(Ordered(found))
            }
        }
        deserializer.deserialize_map(Lines(std::marker::PhantomData))
    }
}

/// The first file for a registry, or else the first for all. A port may stand between underscores, for systems whose names of
/// files have no colon: there containerd looks first.
pub(super) fn find(trees: &[PathBuf], domain: &str) -> Result<Option<Hosts>, InvalidSettings> {
    let plain = domain.rsplit_once(':').map(|(host, port)| format!("{host}_{port}_"));
    for folder in [plain.as_deref().unwrap_or(domain), domain, "_default"] {
        for tree in trees {
            let path = tree.join(folder).join("hosts.toml");
            if let Some(text) = file(&path)? {
                let document = toml(&path, &text)?;
                return Ok(Some(Hosts { path, document }));
            }
        }
    }
    Ok(None)
}

impl Hosts {
    /// The hosts that the file names and, last, the registry.
    pub(super) fn routes(self, domain: &str, path: &str) -> Result<Vec<Route>, InvalidSettings> {
        let document = self.document;
        let mut routes = Vec::new();
        for (name, host) in document.host.0 {
            // Somebody may have written a password.
            let key = format!("host.{:?}", name.split_once('@').map_or(name.as_str(), |(_, rest)| rest));
            let mut route = host.route(&self.path, &key, &name, path)?;
            if route.root.host_str() != Some(domain) {
                route.namespace = Some(domain.to_owned());
            }
            routes.push(route);
        }
        let own = Host {
            capabilities: document.capabilities,
            ca: document.ca,
            client: document.client,
            skip_verify: document.skip_verify,
            override_path: document.override_path,
            header: document.header,
            dial_timeout: document.dial_timeout,
        };
        let server = document.server.filter(|server| !server.is_empty());
        let named = server.is_some();
        let server =
            server.unwrap_or_else(|| format!("https://{}", if domain == HUB { HUB_HOST } else { domain }));
        let mut route = own.route(&self.path, "server", &server, path)?;
        route.is_registry = true;
        if !named {
            route.plain = Plain::IfInsecure;
        }
        routes.push(route);
        Ok(routes)
    }
}

impl Host {
    fn route(self, file: &Path, key: &str, address: &str, path: &str) -> Result<Route, InvalidSettings> {
        let invalid = |key: &str, problem: String| InvalidSettings::Value {
            path: file.to_owned(),
            key: key.to_owned(),
            problem,
        };
        let mut route = Route::mirror(root(address, self.override_path).map_err(|e| invalid(key, e))?, path);
        route.can = can(self.capabilities.as_deref());
        route.tls.unverified = self.skip_verify;
        let folder = file.parent().unwrap_or(Path::new("/"));
        route.tls.authorities = match self.ca {
            None => vec![],
            Some(Ca::One(path)) => vec![folder.join(path)],
            Some(Ca::Many(paths)) => paths.iter().map(|path| folder.join(path)).collect(),
        };
        let mut pairs = match self.client {
            None => vec![],
            Some(Identity::One(path)) => vec![Pair::File(path)],
            Some(Identity::Many(pairs)) => pairs,
        };
        if pairs.len() > 1 {
            return Err(invalid(key, "several client certificates, of which one can be used".to_owned()));
        }
        route.tls.identity = pairs.pop().map(|pair| match pair {
            Pair::File(path) => (folder.join(&path), folder.join(path)),
            Pair::Files(certificate, key) => (folder.join(certificate), folder.join(key)),
        });
        if let Some(text) = &self.dial_timeout {
            let time = duration(text)
                .ok_or_else(|| invalid(key, format!("dial_timeout: invalid duration {text:?}")))?;
            route.tls.dial = Some(time);
        }
        route.headers = headers(self.header).map_err(|problem| invalid(key, problem))?;
        Ok(route)
    }
}

fn can(listed: Option<&[Capability]>) -> Can {
    let Some(listed) = listed.filter(|listed| !listed.is_empty()) else { return Can::ALL };
    let has = |capability| listed.contains(&capability);
    Can { pull: has(Capability::Pull), resolve: has(Capability::Resolve), push: has(Capability::Push) }
}

/// The root of the API at an address, which ends with `/v2` unless the address is said to be all of it.
fn root(address: &str, is_whole: bool) -> Result<Url, String> {
    let text = match address.contains("://") {
        true => address.to_owned(),
        false => format!("https://{address}"),
    };
    let mut url = Url::parse(&text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("{text:?} is no address of a web server"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address must not have a password: set a header".to_owned());
    }
    if url.host_str() == Some(HUB) {
        url.set_host(Some(HUB_HOST)).map_err(|error| error.to_string())?;
    }
    let has_version = url.path().trim_end_matches('/').ends_with("/v2");
    Ok(match is_whole || has_version {
        true => below(&url, ""),
        false => below(&url, "v2/"),
    })
}

fn headers(lines: Headers) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in lines.0 {
        let values = match values {
            Texts::One(value) => vec![value],
            Texts::Many(values) => values,
        };
        let key =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("header {name:?}: invalid name"))?;
        for value in values {
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| format!("header {name:?}: invalid value"))?;
            value.set_sensitive(true);
            headers.append(key.clone(), value);
        }
    }
    Ok(headers)
}

/// Go's durations, such as `1m30s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text.trim(), Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let seconds = match &after[..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &after[unit_end..];
    }
    (total > Duration::ZERO).then_some(total)
}
