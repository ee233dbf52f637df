//! `--cache-from` and `--cache-to`.

use std::collections::BTreeMap;

use crate::context::Cli;
use crate::error::Error;
use crate::options::mount::csv;
use crate::options::volume::absolute;

type Attributes = BTreeMap<String, String>;

/// Caches to take results from.
pub fn from(cli: &Cli, specs: &[String]) -> Result<Vec<Attributes>, Error> {
    specs.iter().map(|spec| read(cli, spec, "src")).collect()
}

/// Caches to send results to; what goes into the image is not among them.
pub fn to(cli: &Cli, specs: &[String]) -> Result<Vec<Attributes>, Error> {
    specs.iter().filter(|spec| !is_inline(spec)).map(|spec| read(cli, spec, "dest")).collect()
}

/// Whether the cache goes into the image itself.
pub fn is_inline(spec: &str) -> bool {
    spec.split(',').any(|field| field.trim() == "type=inline")
}

fn read(cli: &Cli, spec: &str, path: &str) -> Result<Attributes, Error> {
    let fields = csv(spec)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        let pairs = [("type", "registry"), ("ref", only)];
        return Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }
    let mut attributes = Attributes::new();
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Error::new(format!("invalid value {field}, expected key=value")))?;
        attributes.insert(key.trim().to_lowercase(), value.to_owned());
    }
    match attributes.get("type").map(String::as_str) {
        None => return Err(Error::new(format!("type required form {}", template::quote(spec)))),
        Some("local" | "registry") => {}
        Some("s3") => super::aws::complete(cli, &mut attributes)?,
        Some(other) => {
            return Err(Error::new(format!(
                "cache type {} is not supported: there are local, registry, s3 and inline",
                template::quote(other)
            )));
        }
    }
    if let Some(directory) = attributes.get_mut(path) {
        let full = absolute(directory.as_str(), &cli.host.directory);
        *directory = full.display().to_string();
    }
    Ok(attributes)
}
