//! `--provenance`, `--sbom` and `--attest`, three ways to say the same.

use oci::Reference;

use crate::error::Error;
use crate::options::mount::csv;

/// Which attestations are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestations {
    /// `min` or `max`.
    pub provenance: Option<&'static str>,
    pub sbom: bool,
    /// The image whose program lists the packages; empty is the builder's own list.
    pub generator: String,
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
                Some("provenance") => all.provenance = mode(&rest)?,
                Some("sbom") => (all.sbom, all.generator) = scan(&rest)?,
                Some(other) => {
                    return Err(Error::new(format!("unknown attestation type {}", template::quote(other))));
                }
                None => return Err(Error::new("attestation type not specified")),
            }
        }
        if let Some(text) = provenance {
            all.provenance = mode(&csv(text)?.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        if let Some(text) = sbom {
            (all.sbom, all.generator) = scan(&csv(text)?.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(all)
    }
}

fn mode(fields: &[&str]) -> Result<Option<&'static str>, Error> {
    let mut mode = Some("min");
    for field in fields {
        match *field {
            "true" | "disabled=false" | "mode=min" | "" => mode = Some("min"),
            "mode=max" => mode = Some("max"),
            "false" | "disabled=true" => return Ok(None),
            "version=v1" | "inline-only=false" => {}
            other => {
                return Err(Error::new(format!("provenance: {} is not supported", template::quote(other))));
            }
        }
    }
    Ok(mode)
}

fn scan(fields: &[&str]) -> Result<(bool, String), Error> {
    let mut image = String::new();
    for field in fields {
        match (*field, field.strip_prefix("generator=")) {
            ("true" | "disabled=false" | "", _) => {}
            ("false" | "disabled=true", _) => return Ok((false, String::new())),
            (_, Some(generator)) => image = generator_of(generator)?,
            (other, None) => {
                return Err(Error::new(format!("sbom: {} is not supported", template::quote(other))));
            }
        }
    }
    Ok((true, image))
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
                .map(|a| (a.provenance, a.sbom))
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
        assert!(generator("generator=UPPER").is_err());
        assert!(read(Some("mode=all"), None, &[]).is_err());
        assert!(read(None, None, &["mode=max"]).is_err());
    }
}
