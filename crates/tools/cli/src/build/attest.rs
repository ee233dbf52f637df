//! `--provenance`, `--sbom` and `--attest`, three ways to say the same.

use crate::error::Error;
use crate::options::mount::csv;

/// Which attestations are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestations {
    /// `min` or `max`.
    pub provenance: Option<&'static str>,
    pub sbom: bool,
}

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
                Some("sbom") => all.sbom = scan(&rest)?,
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
            all.sbom = scan(&csv(text)?.iter().map(String::as_str).collect::<Vec<_>>())?;
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

fn scan(fields: &[&str]) -> Result<bool, Error> {
    for field in fields {
        match *field {
            "true" | "disabled=false" | "" => {}
            "false" | "disabled=true" => return Ok(false),
            generator if generator.starts_with("generator=") => {
                return Err(Error::new(format!(
                    "sbom: {generator} is not supported: packages are listed by the builder itself"
                )));
            }
            other => return Err(Error::new(format!("sbom: {} is not supported", template::quote(other)))),
        }
    }
    Ok(true)
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
        assert!(read(None, Some("generator=x"), &[]).is_err());
        assert!(read(Some("mode=all"), None, &[]).is_err());
        assert!(read(None, None, &["mode=max"]).is_err());
    }
}
