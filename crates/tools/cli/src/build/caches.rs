//! `--cache-from` and `--cache-to`.

use std::collections::BTreeMap;

use crate::context::Cli;
use crate::error::Error;
use crate::options::mount::csv;
use crate::options::volume::absolute;

type Attributes = BTreeMap<String, String>;

/// Caches to take results from.
pub fn from(cli: &Cli, specs: &[String]) -> Result<Vec<Attributes>, Error> {
    read_all(cli, specs.iter(), "src")
}

/// Caches to send results to; what goes into the image is not among them.
pub fn to(cli: &Cli, specs: &[String]) -> Result<Vec<Attributes>, Error> {
    read_all(cli, specs.iter().filter(|spec| !is_inline(spec)), "dest")
}

/// Whether the cache goes into the image itself.
pub fn is_inline(spec: &str) -> bool {
    spec.split(',').any(|field| field.trim() == "type=inline")
}

/// Words without a `=` are the names of images, each of which has a cache.
fn read_all<'a>(
    cli: &Cli,
    specs: impl Iterator<Item = &'a String>,
    path: &str,
) -> Result<Vec<Attributes>, Error> {
    let mut caches = Vec::new();
    for spec in specs {
        match spec.contains('=') {
            true => caches.extend(read(cli, spec, path)?),
            false => caches.extend(csv(spec)?.into_iter().map(|name| {
                let pairs = [("type", "registry".to_owned()), ("ref", name)];
                Attributes::from(pairs.map(|(key, value)| (key.to_owned(), value)))
            })),
        }
    }
    Ok(caches)
}

/// None of what is not there to be used.
fn read(cli: &Cli, spec: &str, path: &str) -> Result<Option<Attributes>, Error> {
    let mut attributes = Attributes::new();
    for field in &csv(spec)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Error::new(format!("invalid value {field}, expected key=value")))?;
        attributes.insert(key.trim().to_lowercase(), value.to_owned());
    }
    match attributes.get("type").map(String::as_str) {
        None => return Err(Error::new(format!("type required form {}", template::quote(spec)))),
        Some("local" | "registry") => {}
        Some("s3") => super::aws::complete(cli, &mut attributes)?,
        // The same command line serves in GitHub's workflows and elsewhere: buildx leaves it out where there are none.
        Some("gha") if !is_workflow(cli, &attributes) => return Ok(None),
        Some(other) => {
            return Err(Error::new(format!(
                "cache type {} is not supported: there are local, registry, s3 and inline",
                template::quote(other)
            )));
        }
    }
    if attributes["type"] == "local" && attributes.get(path).is_none_or(String::is_empty) {
        return Err(Error::new(format!("local cache {} needs {path}=directory", template::quote(spec))));
    }
    if let Some(directory) = attributes.get_mut(path) {
        let full = absolute(directory.as_str(), &cli.host.directory);
        *directory = full.display().to_string();
    }
    Ok(Some(attributes))
}

/// Whether a workflow of GitHub's runs us, which has a cache.
fn is_workflow(cli: &Cli, attributes: &Attributes) -> bool {
    let is_set = |key: &str, variables: &[&str]| {
        let given = attributes.get(key).is_some_and(|value| !value.is_empty());
        given || variables.iter().any(|name| cli.variable(name).is_some_and(|value| !value.is_empty()))
    };
    is_set("token", &["ACTIONS_RUNTIME_TOKEN"])
        && (is_set("url", &["ACTIONS_CACHE_URL"]) || is_set("url_v2", &["ACTIONS_RESULTS_URL"]))
}
