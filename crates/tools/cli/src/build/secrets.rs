//! `--secret id=…,src=…` and `--secret id=…,env=…`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::context::Cli;
use crate::error::Error;
use crate::options::mount::csv;

/// A larger file is hardly a secret.
const MAX: u64 = 500 << 10;

/// The id, and the content in base64.
pub fn read(cli: &Cli, spec: &str) -> Result<(String, String), Error> {
    let (mut id, mut source, mut variable) = (String::new(), None, None);
    for field in csv(spec)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Error::new(format!("invalid field '{field}' must be a key=value pair")))?;
        match key.to_lowercase().as_str() {
            "type" if matches!(value, "file" | "env") => {
                if value == "env" && variable.is_none() {
                    variable = Some(String::new());
                }
            }
            "type" => return Err(Error::new(format!("unsupported secret type {}", template::quote(value)))),
            "id" => id = value.to_owned(),
            "source" | "src" => source = Some(value.to_owned()),
            "env" => variable = Some(value.to_owned()),
            _ => return Err(Error::new(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if id.is_empty() {
        return Err(Error::new("failed to parse secret: id is required"));
    }
    let content = match (variable, source) {
        (Some(name), source) => {
            let name = source.filter(|_| name.is_empty()).unwrap_or(name);
            let name = if name.is_empty() { &id } else { &name };
            cli.variable(name).unwrap_or_default().into_bytes()
        }
        (None, source) => {
            // Without a source, a variable of the id's name comes first.
            match (source, cli.variable(&id)) {
                (None, Some(value)) => value.into_bytes(),
                (source, _) => file(cli, &source.unwrap_or_else(|| id.clone()))?,
            }
        }
    };
    Ok((id, STANDARD.encode(content)))
}

fn file(cli: &Cli, path: &str) -> Result<Vec<u8>, Error> {
    let full = cli.host.directory.join(path);
    let size = std::fs::metadata(&full).map_err(|error| Error::file("failed to stat", path, &error))?.len();
    if size > MAX {
        return Err(Error::new(format!("invalid secret size {size}: must be smaller than 500 KiB")));
    }
    cli.read(path)
}
