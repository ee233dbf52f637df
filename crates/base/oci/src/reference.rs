//! Image references: `[domain/]path[:tag][@digest]` with Docker's grammar, defaults and error texts
//! (the grammar is that of github.com/distribution/reference).
//!
//! A value of this type is always normalised: the domain is present and `nginx` is
//! `docker.io/library/nginx`. What a person sees is [`Reference::familiar`].

use crate::{Digest, DigestError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// The domain that names without one belong to.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
/// The tag that names without tag and digest mean.
pub const DEFAULT_TAG: &str = "latest";
const PATH_MAX: usize = 255;

/// A normalised image reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry host, with port if any: `docker.io`, `localhost:5000`.
    pub domain: String,
    /// Repository in the registry: `library/nginx`.
    pub path: String,
    /// Tag.
    pub tag: Option<String>,
    /// Digest of the manifest or index.
    pub digest: Option<Digest>,
}

/// Why a string is no reference; the texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It doesn't fit the grammar.
    #[error("invalid reference format")]
    Format,
    /// The repository has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hexadecimal characters are an image id, never a repository.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The repository is too long.
    #[error("repository name must not be more than {PATH_MAX} characters")]
    TooLong,
    /// What follows `@` is no digest.
    #[error("{0}")]
    Digest(DigestError),
}

impl Reference {
    /// Reads a reference and adds `:latest` when it has neither tag nor digest.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        let mut reference = Reference::parse_name(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(reference)
    }

    /// Whether a text is the whole id of an image, which is no reference.
    pub fn is_image_id(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// Reads a reference as it is written: no default tag.
    pub fn parse_name(text: &str) -> Result<Reference, ReferenceError> {
        if Self::is_image_id(text) {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (domain, rest) = split_domain(text);
        let remote = rest.split(':').next().unwrap_or_default();
        if remote.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase(remote.to_owned()));
        }
        let (rest, digest) = match rest.split_once('@') {
            None => (rest.as_str(), None),
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
        };
        let (path, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return Err(ReferenceError::Format),
        };
        if !is_domain(&domain) || !is_path(path) {
            return Err(ReferenceError::Format);
        }
        if path.len() > PATH_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Reference { domain, path: path.to_owned(), tag, digest })
    }

    /// The whole repository name: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as people write it: `nginx`. One whose path begins like a host keeps its registry, for without it
    /// the text would name that host's.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ if self.path.split_once('/').is_some_and(|(first, _)| is_host(first)) => self.name(),
            _ => self.path.clone(),
        }
    }

    /// The reference as people write it: `nginx:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The shortest name for what a name means, by which names are compared: `zz` for `docker.io/library/zz:latest`. None for what
    /// is no name of an image.
    pub fn shortest(name: &str) -> Option<String> {
        let familiar = Reference::parse(name).ok()?.familiar();
        Some(familiar.strip_suffix(":latest").map_or_else(|| familiar.clone(), str::to_owned))
    }

    /// The same repository with this tag and no digest; an invalid tag is a format error.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository alone: no tag, no digest.
    pub fn repository(&self) -> Reference {
        Reference { tag: None, digest: None, ..self.clone() }
    }

    /// Whether neither tag nor digest is given.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

/// Whether the first component of a name is a registry's host: it has a dot or a port, is `localhost`, or has upper-case
/// letters (which repositories can't).
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase)
}

/// Splits the domain off and puts the defaults in.
fn split_domain(text: &str) -> (String, String) {
    let (domain, path) = match text.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        (domain.to_owned(), format!("{OFFICIAL}{path}"))
    } else {
        (domain.to_owned(), path.to_owned())
    }
}

fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    // What doesn't even look like a digest is a format error of the reference; what does gets its own text.
    let looks = text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
            && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte))
            && hex.len() >= 32
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if !looks {
        return Err(ReferenceError::Format);
    }
    text.parse().map_err(ReferenceError::Digest)
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && word(bytes[0])
        && bytes[1..].iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
}

/// Host name components separated by dots, or an IPv6 address in brackets; then an optional port.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) => {
                let address = !address.is_empty()
                    && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
                if !address {
                    return false;
                }
                ("host", rest)
            }
            None => return false,
        },
        None => match text.find(':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        },
    };
    let component = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    port && host.split('.').all(component)
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Runs of `[a-z0-9]` with one separator between two: a dot, one or two underscores, any number of dashes.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes.split(|byte| alphanumeric(*byte)).filter(|separator| !separator.is_empty()).all(|separator| {
        matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        Reference::parse_name(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_for_the_same_are_one() {
        for name in ["zz", "zz:latest", "library/zz", "docker.io/library/zz:latest"] {
            assert_eq!(Reference::shortest(name).as_deref(), Some("zz"));
        }
        assert_eq!(Reference::shortest("docker.io/library/busybox:1.2").as_deref(), Some("busybox:1.2"));
        assert_eq!(Reference::shortest("r:5000/zz").as_deref(), Some("r:5000/zz"));
        assert_eq!(Reference::shortest("UPPER"), None);
    }

    #[test]
    fn normalises_as_docker_does() {
        for (text, full, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
            ("docker.io/evil.example/app:1", "docker.io/evil.example/app:1", "docker.io/evil.example/app:1"),
            ("docker.io/localhost/app:1", "docker.io/localhost/app:1", "docker.io/localhost/app:1"),
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
            ("ghcr.io/o/i:t", "ghcr.io/o/i:t", "ghcr.io/o/i:t"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("Host/app", "Host/app:latest", "Host/app:latest"),
            ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest", "a__b/c--d.e_f:latest"),
        ] {
            let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar));
        }
    }

    #[test]
    fn keeps_digest_and_tag_apart() {
        let reference = Reference::parse(&format!("nginx:1@{DIGEST}")).unwrap();
        assert_eq!(reference.tag.as_deref(), Some("1"));
        assert_eq!(reference.familiar(), format!("nginx:1@{DIGEST}"));
        let reference = Reference::parse(&format!("nginx@{DIGEST}")).unwrap();
        assert_eq!((reference.tag, reference.path.as_str()), (None, "library/nginx"));
    }

    #[test]
    fn refuses_with_dockers_words() {
        let long = "a".repeat(256);
        let hex = &DIGEST[7..];
        for (text, message) in [
            ("", "invalid reference format"),
            (":x", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("../x", "invalid reference format"),
            ("host:port/x", "invalid reference format"),
            ("a@sha256:abc", "invalid reference format"),
            ("a:b:c", "invalid reference format"),
            ("a\0", "invalid reference format"),
            ("NGINX", "invalid reference format: repository name (library/NGINX) must be lowercase"),
            ("x.io/User/app:T", "invalid reference format: repository name (User/app) must be lowercase"),
            (&long, "repository name must not be more than 255 characters"),
            ("a@md5:d41d8cd98f00b204e9800998ecf8427e", "unsupported digest algorithm"),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().to_string(), message, "{text:?}");
        }
        assert_eq!(
            Reference::parse(hex).unwrap_err().to_string(),
            format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings")
        );
    }

    #[test]
    fn changes_its_tag() {
        let reference = Reference::parse(&format!("nginx@{DIGEST}")).unwrap();
        assert_eq!(reference.with_tag("x").unwrap().familiar(), "nginx:x");
        assert_eq!(reference.with_tag(""), Err(ReferenceError::Format));
        assert_eq!(reference.repository().familiar(), "nginx");
        assert!(Reference::parse_name("nginx").unwrap().is_name_only());
    }
}
