//! Credentials for registries: in Docker's `config.json`, in the credential helpers that it names, or in `DOCKER_AUTH_CONFIG`.
//!
//! Format: <https://docs.docker.com/reference/cli/docker/login/>. A helper that is named for a registry (`credHelpers`) or for all
//! (`credsStore`) has its credentials, and the file only says that there are some. Helpers are run here, by the client: an
//! engine never sees them.

mod file;
mod helper;

use std::collections::BTreeMap;

use api::auth::AuthConfig;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::error::Error;
use crate::settings;

pub use file::hostname;

/// The name under which Docker Hub's credentials are kept.
pub const HUB: &str = "https://index.docker.io/v1/";
/// Credentials of a process, such as a step of a pipeline: the `auths` of a `config.json`.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// The key of a registry in the file: the Hub's, or its host.
pub fn key(server: &str) -> String {
    match hostname(server) {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// The helper that has a registry's credentials, if one has.
fn helper_of<'c>(config: &'c Map<String, Value>, key: &str) -> Option<&'c str> {
    let own = config.get("credHelpers").and_then(Value::as_object);
    let own = own.and_then(|helpers| {
        let host = helpers.iter().find(|(name, _)| self::key(name) == self::key(key));
        helpers.get(key).or_else(|| host.map(|(_, helper)| helper))
    });
    let named = own.or_else(|| config.get("credsStore")).and_then(Value::as_str);
    named.filter(|name| !name.is_empty())
}

/// The credentials of the environment.
fn of_environment(cli: &Cli) -> Map<String, Value> {
    let text = cli.variable(VARIABLE).unwrap_or_default();
    let document: Option<Value> = serde_json::from_str(&text).ok();
    document.and_then(|document| document.get("auths")?.as_object().cloned()).unwrap_or_default()
}

/// The credentials for a registry, if there are any. A helper that fails is told, and does without.
pub fn lookup(cli: &Cli, domain: &str) -> Result<Option<AuthConfig>, Error> {
    let key = key(domain);
    if let Some(found) = file::find(&of_environment(cli), &key) {
        return Ok(Some(found));
    }
    let config = settings::load(cli)?;
    match helper_of(&config, &key) {
        None => Ok(file::find(&file::auths(&config), &key)),
        Some(name) => Ok(helper::get(name, &key).unwrap_or_else(|error| {
            cli.complain(&format!("WARNING: {error}; going on without credentials for {key}"));
            None
        })),
    }
}

/// Stores credentials; the answer is true when a password lies in the file that did not, readable for who reads the file.
pub fn store(cli: &Cli, auth: &AuthConfig) -> Result<bool, Error> {
    let saving = |error: Error| Error { message: format!("Error saving credentials: {error}"), ..error };
    let mut config = settings::load_whole(cli).map_err(saving)?;
    let name = helper_of(&config, &auth.serveraddress).map(str::to_owned);
    let entry = match &name {
        Some(name) => {
            helper::store(name, auth).map_err(saving)?;
            Value::Object(Map::new())
        }
        None => file::entry(auth),
    };
    let auths = config.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    let auths = auths.as_object_mut().ok_or_else(|| {
        Error::new(format!("Error saving credentials: {}: auths is no object", settings::path(cli).display()))
    })?;
    if auths.get(&auth.serveraddress) == Some(&entry) {
        return Ok(false);
    }
    auths.insert(auth.serveraddress.clone(), entry);
    settings::save(cli, &config).map_err(saving)?;
    Ok(name.is_none() && !auth.password.is_empty())
}

/// Forgets credentials under these names; a problem with each of them is told.
pub fn erase(cli: &Cli, names: &[String]) -> Result<Vec<String>, Error> {
    let mut config = settings::load_whole(cli)?;
    let mut problems = Vec::new();
    for name in names {
        if let Some(helper) = helper_of(&config, name)
            && let Err(error) = helper::erase(helper, name)
        {
            problems.push(format!("{name}: {error}"));
        }
    }
    let before = config.clone();
    if let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) {
        for name in names {
            auths.shift_remove(name);
        }
    }
    if config != before {
        settings::save(cli, &config)?;
    }
    Ok(problems)
}

/// All credentials that there are, for a build that may pull from anywhere.
pub fn all(cli: &Cli) -> Result<BTreeMap<String, AuthConfig>, Error> {
    let config = settings::load(cli)?;
    let mut all = file::all(&file::auths(&config));
    let warn = |error: Error| cli.complain(&format!("WARNING: {error}"));
    let mut ask = |name: &str, server: &str| match helper::get(name, server) {
        Ok(Some(found)) => drop(all.insert(server.to_owned(), found)),
        Ok(None) => {}
        Err(error) => warn(error),
    };
    if let Some(name) = config.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        match helper::list(name) {
            Ok(servers) => servers.iter().for_each(|server| ask(name, server)),
            Err(error) => warn(error),
        }
    }
    for (server, name) in config.get("credHelpers").and_then(Value::as_object).into_iter().flatten() {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            ask(name, server);
        }
    }
    all.extend(file::all(&of_environment(cli)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys() {
        for name in ["", "docker.io", "index.docker.io", HUB, "https://registry-1.docker.io/v2/"] {
            assert_eq!(key(name), HUB, "{name}");
        }
        assert_eq!(key("https://reg.lan:5000/v2/"), "reg.lan:5000");
        assert_eq!(key("ghcr.io"), "ghcr.io");
    }

    #[test]
    fn whose_helper() {
        let config = json!({
            "credsStore": "all",
            "credHelpers": {"gcr.io": "gcr", "docker.io": "hub", "https://reg.lan": "reg", "none.lan": ""},
        });
        let helper = |key: &str| helper_of(config.as_object().unwrap(), key);
        assert_eq!(helper("gcr.io"), Some("gcr"));
        assert_eq!(helper(HUB), Some("hub"));
        assert_eq!(helper("reg.lan"), Some("reg"));
        assert_eq!(helper("ghcr.io"), Some("all"));
        assert_eq!(helper("none.lan"), None);
        assert_eq!(helper_of(&Map::new(), "gcr.io"), None);
    }
}
