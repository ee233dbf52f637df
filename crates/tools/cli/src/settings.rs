//! The client's `config.json`: settings and credentials, shared with Docker's own client.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::{Map, Value};

use crate::context::Cli;
use crate::error::Error;

/// Where the file is; `--config` and the surroundings name its directory.
pub fn path(cli: &Cli) -> PathBuf {
    let directory = match cli.globals.config.as_deref().filter(|directory| !directory.is_empty()) {
        Some(directory) => cli.host.directory.join(directory),
        None => cli.host.config_dir.clone(),
    };
    directory.join("config.json")
}

/// The file, for who reads settings: a missing one is empty, and so is one that can't be read, with a warning.
pub fn load(cli: &Cli) -> Result<Map<String, Value>, Error> {
    static SAID: Once = Once::new();
    let path = path(cli);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        // Under another user's HOME, as after su and in containers: what needs no settings goes on without.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let reason = Error::file("open", &path, &error);
            SAID.call_once(|| cli.complain(&format!("WARNING: Error loading config file: {reason}")));
            return Ok(Map::new());
        }
        Err(error) => return Err(Error::file("open", &path, &error)),
    };
    Ok(parse(&path, &text).unwrap_or_else(|error| {
        SAID.call_once(|| cli.complain(&format!("WARNING: {error}")));
        Map::new()
    }))
}

/// The file, for who writes it back: what can't be read must not be replaced.
pub fn load_whole(cli: &Cli) -> Result<Map<String, Value>, Error> {
    let path = path(cli);
    match std::fs::read(&path) {
        Ok(text) => parse(&path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(Error::file("open", &path, &error)),
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Map<String, Value>, Error> {
    if text.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(text)
        .map_err(|error| Error::new(format!("Error parsing config file ({}): {error}", path.display())))
}

/// A setting that is a text, such as `psFormat` or `detachKeys`.
pub fn text(cli: &Cli, name: &str) -> Result<Option<String>, Error> {
    let value = load(cli)?.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(value.filter(|text| !text.is_empty()))
}

/// The proxies that containers and builds on this server are told, each under both spellings of its name; what is already set under
/// one of them stays as it is.
pub fn proxies(cli: &Cli, is_set: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>, Error> {
    let config = load(cli)?;
    let Some(all) = config.get("proxies").and_then(Value::as_object) else { return Ok(Vec::new()) };
    let server = cli.globals.hosts.first().cloned();
    let server = server.or_else(|| cli.variable("DHOW_HOST")).or_else(|| cli.variable("DOCKER_HOST"));
    let own = server.and_then(|server| all.get(&server)).or_else(|| all.get("default"));
    Ok(proxy_variables(own.unwrap_or(&Value::Null), is_set))
}

fn proxy_variables(proxies: &Value, is_set: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (key, name) in [
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ] {
        let value = proxies.get(key).and_then(Value::as_str).unwrap_or_default();
        let names = [name.to_owned(), name.to_lowercase()].into_iter();
        let missing = names.filter(|name| !value.is_empty() && !is_set(name));
        variables.extend(missing.map(|name| (name, value.to_owned())));
    }
    variables
}

/// The format of a list: the flag's, or else the setting's unless only ids are wanted.
pub fn format(cli: &Cli, flag: Option<String>, quiet: bool, name: &str) -> Result<Option<String>, Error> {
    match flag {
        None if !quiet => text(cli, name),
        flag => Ok(flag),
    }
}

/// Replaces the file, readable by its owner only. Where it is a link, what it leads to is replaced, as Docker does.
pub fn save(cli: &Cli, config: &Map<String, Value>) -> Result<(), Error> {
    let path = path(cli);
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    let fail = |error: std::io::Error| Error::file("write", &path, &error);
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
    }
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, tabs);
    serde::Serialize::serialize(config, &mut writer).map_err(|error| Error::new(error.to_string()))?;
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(fail)?;
    // Under sudo the file stays its owner's.
    if let Ok(before) = std::fs::metadata(&path) {
        let _ = std::os::unix::fs::fchown(&out, Some(before.uid()), Some(before.gid()));
    }
    let written =
        out.write_all(&text).and_then(|()| out.sync_all()).and_then(|()| std::fs::rename(&new, &path));
    written.inspect_err(|_| drop(std::fs::remove_file(&new))).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_of_containers() {
        let proxies =
            serde_json::json!({"httpProxy": "http://p:1", "noProxy": "a,b", "ftpProxy": "", "x": 1});
        let found = proxy_variables(&proxies, |name| name == "http_proxy");
        let shown: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["HTTP_PROXY=http://p:1", "NO_PROXY=a,b", "no_proxy=a,b"]);
        assert!(proxy_variables(&Value::Null, |_| false).is_empty());
    }
}
