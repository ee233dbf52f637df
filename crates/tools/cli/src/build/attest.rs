//! `--provenance`, `--sbom` and `--attest`, three ways to say the same.

use std::collections::BTreeMap;

use oci::Reference;

use crate::error::Error;
use crate::options::mount::csv;

/// Which attestations are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestations {
    pub provenance: Option<Provenance>,
    pub sbom: bool,
    /// The image whose program lists the packages; empty is the builder's own list.
    pub generator: String,
    /// What that is told besides.
    pub arguments: BTreeMap<String, String>,
}

/// How a provenance is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// `min` or `max`.
    pub mode: &'static str,
    /// `v1` or `v0.2`.
    pub version: &'static str,
    pub builder_id: String,
    pub reproducible: bool,
    /// What it cannot name must not be used.
    pub complete: bool,
    /// Only where the image leaves this machine.
    pub inline_only: bool,
    /// What it is called among files.
    pub filename: String,
}

impl Default for Provenance {
    fn default() -> Self {
        Provenance {
            mode: "min",
            version: "v1",
            builder_id: String::new(),
            reproducible: false,
            complete: false,
            inline_only: false,
            filename: "provenance.json".to_owned(),
        }
    }
}

/// The one that clients name by default: what it does, the builder does itself.
const DEFAULT_GENERATOR: &str = "docker/buildkit-syft-scanner";

impl Attestations {
    /// Reads all three.
    pub fn read(provenance: Option<&str>, sbom: Option<&str>, attest: &[String]) -> Result<Self, Error> {
        let mut all = Attestations::default();
        for text in attest {
            let fields = csv(text)?;
            let kind = fields.iter().find_map(|field| field.strip_prefix("type="));
            let rest: Vec<&str> =
                fields.iter().map(String::as_str).filter(|field| !field.starts_with("type=")).collect();
            match kind {
                Some("provenance") => all.provenance = how(&rest)?,
                Some("sbom") => scan(&rest)?.store(&mut all),
                Some(other) => {
                    return Err(Error::new(format!("unknown attestation type {}", template::quote(other))));
                }
                None => return Err(Error::new("attestation type not specified")),
            }
        }
        if let Some(text) = provenance {
            all.provenance = how(&csv(text)?.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        if let Some(text) = sbom {
            scan(&csv(text)?.iter().map(String::as_str).collect::<Vec<_>>())?.store(&mut all);
        }
        Ok(all)
    }
}

fn how(fields: &[&str]) -> Result<Option<Provenance>, Error> {
    let mut all = Provenance::default();
    for field in fields {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match (key, value) {
            ("false", "") => return Ok(None),
            ("true" | "", "") => {}
            ("disabled", value) => {
                if boolean(field, value)? {
                    return Ok(None);
                }
            }
            ("mode", "min") => all.mode = "min",
            ("mode", "max") => all.mode = "max",
            ("version", "v1") => all.version = "v1",
            ("version", "v0.2") => all.version = "v0.2",
            ("builder-id", id) => all.builder_id = id.to_owned(),
            ("filename", name) if !name.is_empty() && !name.contains('/') => all.filename = name.to_owned(),
            ("reproducible", value) => all.reproducible = boolean(field, value)?,
            ("complete-materials", value) => all.complete = boolean(field, value)?,
            ("inline-only", value) => all.inline_only = boolean(field, value)?,
            _ => {
                return Err(Error::new(format!(
                    "provenance: {} is not supported: there are mode=min|max, version=v1|v0.2, builder-id=, filename=, \
                     reproducible=, complete-materials=, inline-only= and disabled=",
                    template::quote(field)
                )));
            }
        }
    }
    Ok(Some(all))
}

fn boolean(field: &str, value: &str) -> Result<bool, Error> {
    crate::flags::boolean(value)
        .map_err(|_| Error::new(format!("provenance: {} is neither true nor false", template::quote(field))))
}

/// A list of packages: whether there is one, the image that makes it, and what that is told.
#[derive(Default)]
struct List {
    wanted: bool,
    generator: String,
    arguments: BTreeMap<String, String>,
}

impl List {
    fn store(self, all: &mut Attestations) {
        (all.sbom, all.generator, all.arguments) = (self.wanted, self.generator, self.arguments);
    }
}

fn scan(fields: &[&str]) -> Result<List, Error> {
    let mut list = List { wanted: true, ..List::default() };
    for field in fields {
        match field.split_once('=') {
            _ if matches!(*field, "true" | "disabled=false" | "") => {}
            _ if matches!(*field, "false" | "disabled=true") => return Ok(List::default()),
            Some(("generator", generator)) => list.generator = generator_of(generator)?,
            Some((name, value)) => drop(list.arguments.insert(name.to_owned(), value.to_owned())),
            None => list.arguments.extend([((*field).to_owned(), String::new())]),
        }
    }
    // Others have arguments of their own; ours has none.
    let unknown = list.arguments.keys().next().filter(|_| list.generator.is_empty());
    match unknown {
        None => Ok(list),
        Some(name) => Err(Error::new(format!(
            "sbom: {} is not supported: there are generator= and disabled=",
            template::quote(name)
        ))),
    }
}

/// The image of a generator; empty for the one whose work is ours.
fn generator_of(text: &str) -> Result<String, Error> {
    let reference = Reference::parse(text)
        .map_err(|error| Error::new(format!("sbom: invalid generator {}: {error}", template::quote(text))))?;
    let ours = reference.familiar_name() == DEFAULT_GENERATOR;
    Ok(if ours { String::new() } else { text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let read = |provenance: Option<&str>, sbom: Option<&str>, attest: &[&str]| {
            let attest: Vec<String> = attest.iter().map(|text| (*text).to_owned()).collect();
            Attestations::read(provenance, sbom, &attest)
                .map(|a| (a.provenance.map(|how| how.mode), a.sbom))
                .map_err(|e| e.message)
        };
        assert_eq!(read(None, None, &[]), Ok((None, false)));
        assert_eq!(read(Some("true"), Some("true"), &[]), Ok((Some("min"), true)));
        assert_eq!(read(Some("mode=max"), None, &["type=sbom"]), Ok((Some("max"), true)));
        assert_eq!(read(Some("false"), Some("false"), &["type=provenance,mode=max"]), Ok((None, false)));
        let generator =
            |text| Attestations::read(None, Some(text), &[]).map(|a| a.generator).map_err(|e| e.message);
        assert_eq!(generator("generator=me/list:2"), Ok("me/list:2".to_owned()));
        assert_eq!(generator("generator=docker/buildkit-syft-scanner:stable-1"), Ok(String::new()));
        assert_eq!(generator("generator=docker.io/docker/buildkit-syft-scanner"), Ok(String::new()));
        assert!(generator("generator=UPPER").is_err() && generator("ARG=1").is_err());
        let told = Attestations::read(None, Some("generator=me/list,ARG=1,quick"), &[]).unwrap().arguments;
        assert_eq!(
            told,
            BTreeMap::from([("ARG".to_owned(), "1".to_owned()), ("quick".to_owned(), String::new())])
        );
        assert!(read(Some("mode=all"), None, &[]).is_err());
        let all = "mode=max,version=v0.2,builder-id=me,reproducible=true,inline-only=1,filename=p.json";
        let all = Attestations::read(Some(all), None, &[]).unwrap().provenance.unwrap();
        assert_eq!(
            (all.mode, all.version, all.builder_id.as_str(), all.filename.as_str()),
            ("max", "v0.2", "me", "p.json")
        );
        assert!(all.reproducible && all.inline_only && !all.complete);
        for wrong in ["version=v2", "reproducible=perhaps", "filename=../x", "capture=1"] {
            assert!(read(Some(wrong), None, &[]).unwrap_err().contains(wrong), "{wrong}");
        }
        assert!(read(None, None, &["mode=max"]).is_err());
    }
}
