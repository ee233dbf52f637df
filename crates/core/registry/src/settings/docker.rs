//! dockerd's `daemon.json`: `registry-mirrors` (of Docker Hub), `insecure-registries` and `proxies`.

use std::path::Path;

use reqwest::Url;
use serde::Deserialize;

use super::{InvalidSettings, file};
use crate::proxy::Proxies;

#[derive(Debug, Default)]
pub(super) struct Docker {
    pub mirrors: Vec<Url>,
    pub insecure: Vec<String>,
    pub proxies: Proxies,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Document {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
    proxies: ProxyDocument,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ProxyDocument {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
}

pub(super) fn read(path: &Path) -> Result<Docker, InvalidSettings> {
    let Some(text) = file(path)?.filter(|text| !text.trim().is_empty()) else { return Ok(Docker::default()) };
    let mut reader = serde_json::Deserializer::from_str(&text);
    let document: Document = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (key, error) = (error.path().to_string(), error.into_inner());
        InvalidSettings::Text {
            path: path.to_owned(),
            line: error.line(),
            problem: format!("{key}: {error}"),
        }
    })?;
    let mut mirrors = Vec::new();
    for text in document.registry_mirrors {
        mirrors.push(mirror(&text).map_err(|problem| InvalidSettings::Value {
            path: path.to_owned(),
            key: "registry-mirrors".to_owned(),
            problem,
        })?);
    }
    let ProxyDocument { http_proxy, https_proxy, no_proxy } = document.proxies;
    let proxies = Proxies { http: http_proxy, https: https_proxy, all: String::new(), direct: no_proxy };
    if !proxies.read().1.is_empty() {
        let (path, key) = (path.to_owned(), "proxies".to_owned());
        return Err(InvalidSettings::Value { path, key, problem: "not an address of a proxy".to_owned() });
    }
    Ok(Docker { mirrors, insecure: document.insecure_registries, proxies })
}

/// The address of a mirror, with Docker's words for what is none.
pub(super) fn mirror(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("invalid mirror: {text:?} is not a valid URI: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("invalid mirror: unsupported scheme {:?} in {:?}", url.scheme(), text));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("invalid mirror: username/password not allowed in URI".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("invalid mirror: query or fragment at end of the URI {text:?}"));
    }
    Ok(url)
}
