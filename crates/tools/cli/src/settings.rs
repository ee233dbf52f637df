//! The client's `config.json`: settings and credentials, shared with Docker's own client.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
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

/// The whole file; a missing one is empty.
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
    if text.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&text)
        .map_err(|error| Error::new(format!("loading config file: {}: {error}", path.display())))
}

/// A setting that is a text, such as `psFormat` or `detachKeys`.
pub fn text(cli: &Cli, name: &str) -> Result<Option<String>, Error> {
    let value = load(cli)?.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(value.filter(|text| !text.is_empty()))
}

/// The format of a list: the flag's, or else the setting's unless only ids are wanted.
pub fn format(cli: &Cli, flag: Option<String>, quiet: bool, name: &str) -> Result<Option<String>, Error> {
    match flag {
        None if !quiet => text(cli, name),
        flag => Ok(flag),
    }
}

/// Replaces the file, readable by its owner only.
pub fn save(cli: &Cli, config: &Map<String, Value>) -> Result<(), Error> {
    let path = path(cli);
    let fail = |error: std::io::Error| Error::file("write", &path, &error);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(fail)?;
    }
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let text = serde_json::to_vec_pretty(config).map_err(|error| Error::new(error.to_string()))?;
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(fail)?;
    let written =
        out.write_all(&text).and_then(|()| out.sync_all()).and_then(|()| std::fs::rename(&new, &path));
    written.inspect_err(|_| drop(std::fs::remove_file(&new))).map_err(fail)
}
