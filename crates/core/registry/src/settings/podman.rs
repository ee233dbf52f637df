//! Podman's `registries.conf` (version 2, and the older one's lists): registries by prefix, with another location, mirrors, and those
//! that are blocked or insecure. Short names mean Docker Hub here, as everywhere in Docker's commands, so
//! `unqualified-search-registries` and aliases have no say.

use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::certificates::list;
use super::{Can, HUB, HUB_HOST, InvalidSettings, Plain, Route, file, toml};

/// What is said of the names with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registry {
    /// `example.com`, `example.com/team`, `*.example.com`.
    pub prefix: String,
    /// What stands in place of the prefix.
    location: String,
    pub insecure: bool,
    pub blocked: bool,
    mirrors: Vec<Mirror>,
    /// The file that says so.
    pub file: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    for_what: ForWhat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ForWhat {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    registry: Vec<RegistryTable>,
    registries: Old,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct RegistryTable {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<MirrorTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct MirrorTable {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<ForWhat>,
}

/// The lists of version 1.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Old {
    insecure: OldList,
    block: OldList,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldList {
    registries: Vec<String>,
}

/// The file, and then those of its folder in the order of their names: a later one replaces what an earlier one says of the same
/// prefix.
pub(super) fn read(path: &Path) -> Result<Vec<Registry>, InvalidSettings> {
    let mut files = vec![path.to_owned()];
    let mut folder = path.as_os_str().to_owned();
    folder.push(".d");
    let more = list(Path::new(&folder))?;
    files.extend(more.into_iter().filter(|path| path.extension().is_some_and(|end| end == "conf")));
    let mut all: Vec<Registry> = Vec::new();
    for path in files {
        let Some(text) = file(&path)? else { continue };
        let found = registries(&path, toml(&path, &text)?)?;
        all.retain(|old| !found.iter().any(|new| new.prefix == old.prefix));
        all.extend(found);
    }
    Ok(all)
}

fn registries(path: &Path, document: Document) -> Result<Vec<Registry>, InvalidSettings> {
    let mut found = Vec::new();
    for (number, table) in document.registry.into_iter().enumerate() {
        let invalid = |problem: String| InvalidSettings::Value {
            path: path.to_owned(),
            key: format!("registry[{number}]"),
            problem,
        };
        found.push(registry(path, table).map_err(invalid)?);
    }
    for (prefix, insecure) in document
        .registries
        .insecure
        .registries
        .into_iter()
        .map(|prefix| (prefix, true))
        .chain(document.registries.block.registries.into_iter().map(|prefix| (prefix, false)))
    {
        found.push(Registry {
            location: prefix.clone(),
            prefix,
            insecure,
            blocked: !insecure,
            mirrors: vec![],
            file: path.to_owned(),
        });
    }
    Ok(found)
}

fn registry(file: &Path, table: RegistryTable) -> Result<Registry, String> {
    let prefix = match (table.prefix.as_str(), table.location.as_str()) {
        ("", "") => return Err("location or prefix must be set".to_owned()),
        ("", location) => location.to_owned(),
        (prefix, _) => prefix.to_owned(),
    };
    check(&prefix)?;
    let is_wild = prefix.starts_with("*.");
    let location = match table.location.as_str() {
        "" if is_wild => String::new(),
        "" => return Err("location must be set where prefix is no wildcard".to_owned()),
        location => location.to_owned(),
    };
    check(&location)?;
    let mut mirrors = Vec::new();
    for mirror in table.mirror {
        if mirror.location.is_empty() {
            return Err("mirror: location must be set".to_owned());
        }
        check(&mirror.location)?;
        let for_what = match (table.mirror_by_digest_only, mirror.pull_from_mirror) {
            (true, Some(_)) => {
                return Err("pull-from-mirror must not be set together with mirror-by-digest-only".to_owned());
            }
            (true, None) => ForWhat::DigestOnly,
            (false, for_what) => for_what.unwrap_or_default(),
        };
        mirrors.push(Mirror { location: mirror.location, insecure: mirror.insecure, for_what });
    }
    Ok(Registry {
        prefix,
        location,
        insecure: table.insecure,
        blocked: table.blocked,
        mirrors,
        file: file.to_owned(),
    })
}

fn check(location: &str) -> Result<(), String> {
    match location.contains("://") {
        true => Err(format!("{location:?}: a host and a path are wanted, without a scheme")),
        false => Ok(()),
    }
}

/// What is said of a repository: by the longest prefix.
pub(super) fn find<'r>(registries: &'r [Registry], domain: &str, path: &str) -> Option<&'r Registry> {
    let name = format!("{domain}/{path}");
    let fitting = registries.iter().filter(|registry| registry.covers(domain, &name));
    fitting.max_by_key(|registry| registry.prefix.len())
}

impl Registry {
    fn covers(&self, domain: &str, name: &str) -> bool {
        if let Some(rest) = self.prefix.strip_prefix('*') {
            let host = domain.split(':').next().unwrap_or_default();
            return host.ends_with(rest) || domain.ends_with(rest);
        }
        match name.strip_prefix(&self.prefix) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// The mirrors in the file's order and, last, the location.
    pub(super) fn routes(&self, domain: &str, path: &str) -> Result<Vec<Route>, InvalidSettings> {
        let mut routes = Vec::new();
        for mirror in &self.mirrors {
            let mut route = self.route(domain, path, &mirror.location)?;
            route.can = match mirror.for_what {
                ForWhat::All => Can::READ,
                ForWhat::DigestOnly => Can { resolve: false, ..Can::READ },
                ForWhat::TagOnly => Can { pull: false, ..Can::READ },
            };
            route.tls.unverified = mirror.insecure;
            route.plain = if mirror.insecure { Plain::Allowed } else { Plain::IfInsecure };
            routes.push(route);
        }
        let own = match self.location.as_str() {
            "" => Route::registry(domain, path)?,
            location => Route {
                can: Can::ALL,
                is_registry: true,
                plain: Plain::IfInsecure,
                ..self.route(domain, path, location)?
            },
        };
        routes.push(own);
        Ok(routes)
    }

    /// The name with `location` in place of the prefix.
    fn route(&self, domain: &str, path: &str, location: &str) -> Result<Route, InvalidSettings> {
        let name = format!("{domain}/{path}");
        let rest = match self.prefix.starts_with('*') {
            // What a wildcard stands for is the host.
            true => &name[domain.len()..],
            false => name.strip_prefix(&self.prefix).unwrap_or_default(),
        };
        let place = format!("{}{rest}", location.trim_end_matches('/'));
        let (host, path) = place.split_once('/').unwrap_or((&place, ""));
        let host = if host == HUB { HUB_HOST } else { host };
        let root = Url::parse(&format!("https://{host}/v2/")).map_err(|error| InvalidSettings::Value {
            path: self.file.clone(),
            key: format!("location {location:?}"),
            problem: error.to_string(),
        })?;
        Ok(Route::mirror(root, path))
    }
}
