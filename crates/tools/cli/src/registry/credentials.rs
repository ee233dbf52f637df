//! Credentials for registries in Docker's `config.json`, or in the credential helpers that it names.
//!
//! Format: <https://docs.docker.com/reference/cli/docker/login/>; helpers speak the protocol of
//! docker-credential-helpers (`docker-credential-NAME get`, a server on standard input, JSON on standard output).

use std::io::Write as _;
use std::process::{Command, Stdio};

use api::auth::AuthConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::context::Cli;
use crate::error::{Error, plain_io};
use crate::settings::{load, save};

/// The name under which Docker Hub's credentials are kept.
pub const HUB: &str = "https://index.docker.io/v1/";

/// The key of a registry in the file.
pub fn key(domain: &str) -> &str {
    match domain {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB,
        other => other,
    }
}

/// The credentials for a registry, if there are any.
pub fn lookup(cli: &Cli, domain: &str) -> Result<Option<AuthConfig>, Error> {
    let config = load(cli)?;
    let key = key(domain);
    let helper = config
        .get("credHelpers")
        .and_then(|helpers| helpers.get(key).or_else(|| helpers.get(domain)))
        .or_else(|| config.get("credsStore"))
        .and_then(Value::as_str);
    if let Some(helper) = helper.filter(|helper| !helper.is_empty()) {
        return ask_helper(helper, key);
    }
    let Some(auths) = config.get("auths").and_then(Value::as_object) else { return Ok(None) };
    let bare = |name: &str| {
        let name = name.trim_start_matches("https://").trim_start_matches("http://");
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let found =
        auths.get(key).or_else(|| auths.iter().find(|(name, _)| bare(name) == domain).map(|(_, v)| v));
    Ok(found.and_then(|entry| entry_auth(entry, key)))
}

fn entry_auth(entry: &Value, server: &str) -> Option<AuthConfig> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (text("username"), text("password")),
    };
    let auth = AuthConfig {
        username,
        password,
        identitytoken: text("identitytoken"),
        serveraddress: server.to_owned(),
        ..AuthConfig::default()
    };
    (!auth.username.is_empty() || !auth.identitytoken.is_empty()).then_some(auth)
}

fn helper(name: &str, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), Error> {
    if name.contains('/') {
        return Err(Error::new(format!("credential helper {} is not a name", template::quote(name))));
    }
    let program = format!("docker-credential-{name}");
    let fail = |error: std::io::Error| {
        Error::new(format!("error getting credentials - {program}: {}", plain_io(&error)))
    };
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(fail)?;
    }
    let output = child.wait_with_output().map_err(fail)?;
    Ok((output.status.success(), output.stdout))
}

fn ask_helper(name: &str, server: &str) -> Result<Option<AuthConfig>, Error> {
    let (good, output) = helper(name, "get", server.as_bytes())?;
    if !good {
        let text = String::from_utf8_lossy(&output);
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(Error::new(format!("error getting credentials - {}", text.trim()))),
        };
    }
    let answer: Value = serde_json::from_slice(&output)
        .map_err(|error| Error::new(format!("error getting credentials - {error}")))?;
    let text = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut auth = AuthConfig { serveraddress: server.to_owned(), ..AuthConfig::default() };
    match text("Username").as_str() {
        "<token>" => auth.identitytoken = text("Secret"),
        user => (auth.username, auth.password) = (user.to_owned(), text("Secret")),
    }
    Ok(Some(auth))
}

/// Stores credentials; the answer is true when they lie in the file, readable for who reads the file.
pub fn store(cli: &Cli, auth: &AuthConfig) -> Result<bool, Error> {
    let mut config = load(cli)?;
    let server = auth.serveraddress.clone();
    if let Some(name) = config.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        let (user, secret) = match auth.identitytoken.is_empty() {
            true => (auth.username.as_str(), auth.password.as_str()),
            false => ("<token>", auth.identitytoken.as_str()),
        };
        let document = json!({"ServerURL": server, "Username": user, "Secret": secret});
        return match helper(name, "store", document.to_string().as_bytes())? {
            (true, _) => Ok(false),
            (false, output) => {
                let text = String::from_utf8_lossy(&output).trim().to_owned();
                Err(Error::new(format!("error storing credentials - {text}")))
            }
        };
    }
    let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
    let mut entry = Map::new();
    entry.insert("auth".to_owned(), pair.into());
    if !auth.identitytoken.is_empty() {
        entry.insert("identitytoken".to_owned(), auth.identitytoken.clone().into());
    }
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    if let Some(auths) = auths.as_object_mut() {
        auths.insert(server, entry.into());
    }
    save(cli, &config)?;
    Ok(true)
}

/// Forgets credentials; false when there were none.
pub fn erase(cli: &Cli, server: &str) -> Result<bool, Error> {
    let mut config = load(cli)?;
    if let Some(name) = config.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        return Ok(helper(name, "erase", server.as_bytes())?.0);
    }
    let removed =
        config.get_mut("auths").and_then(Value::as_object_mut).and_then(|auths| auths.shift_remove(server));
    if removed.is_some() {
        save(cli, &config)?;
    }
    Ok(removed.is_some())
}

/// All credentials that lie in the file, for a build that may pull from anywhere.
pub fn all(cli: &Cli) -> Result<std::collections::BTreeMap<String, AuthConfig>, Error> {
    let config = load(cli)?;
    let auths = config.get("auths").and_then(Value::as_object);
    let entries = auths.into_iter().flatten();
    Ok(entries.filter_map(|(server, entry)| Some((server.clone(), entry_auth(entry, server)?))).collect())
}
