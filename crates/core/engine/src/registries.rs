//! The client of registries as this engine is configured: one for each request, for the administrator's files may have changed.

use registry::{Client, Config};

use crate::Engine;
use crate::error::{Error, Kind, chain};

impl Engine {
    /// A client that also may speak to these hosts without verified encryption.
    pub(crate) fn registries(&self, insecure: &[String]) -> Client {
        let own = self.config();
        Client::new(Config {
            insecure: own.insecure_registries.iter().chain(insecure).cloned().collect(),
            mirrors: own.registry_mirrors.clone(),
            proxies: own.proxies.clone(),
            places: own.registries.clone(),
            ..Config::default()
        })
    }
}

/// What a registry's error is here. Docker says "not found" also where access is denied: it can't tell.
pub(crate) fn failed(error: &registry::Error) -> Error {
    let kind = match error.kind() {
        registry::Kind::NotFound | registry::Kind::Denied => Kind::NotFound,
        registry::Kind::Unauthorized => Kind::Unauthorized,
        registry::Kind::RateLimited => Kind::Unavailable,
        registry::Kind::Unavailable | registry::Kind::Protocol | registry::Kind::Settings => Kind::System,
    };
    let engine = Error::new(kind, chain(error));
    match error.hint() {
        Some(hint) => engine.with_hint(hint),
        None => engine,
    }
}
