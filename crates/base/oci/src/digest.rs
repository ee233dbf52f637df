//! `algorithm:hex`, the name of a piece of content (OCI image-spec, descriptor.md).
//!
//! A value of this type is always well-formed, so it may become a file name; there is no other way from a
//! string to a path of the content store.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::str::FromStr;

/// A validated content digest: `sha256:` with 64 or `sha512:` with 128 lower-case hexadecimal characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Box<str>);

/// The digest of content as it passes.
#[derive(Clone)]
pub struct Hasher(Sum);

#[derive(Clone)]
enum Sum {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// One that gives sha256 digests.
    pub fn sha256() -> Hasher {
        Hasher(Sum::Sha256(Sha256::default()))
    }

    /// One that gives sha512 digests.
    pub fn sha512() -> Hasher {
        Hasher(Sum::Sha512(Box::default()))
    }

    /// One for content that must have this digest: by its algorithm.
    pub fn of(digest: &Digest) -> Hasher {
        match digest.algorithm() {
            "sha512" => Hasher::sha512(),
            _ => Hasher::sha256(),
        }
    }

    /// More of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Sum::Sha256(sum) => sum.update(bytes),
            Sum::Sha512(sum) => sum.update(bytes),
        }
    }

    /// The digest of all that has passed.
    pub fn digest(self) -> Digest {
        match self.0 {
            Sum::Sha256(sum) => Digest::from_sha256(sum.finalize().into()),
            Sum::Sha512(sum) => Digest::from_sha512(sum.finalize().into()),
        }
    }
}

/// Why a string is no digest; the texts are those of Docker's clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:` in front or characters that are not lower-case hexadecimal.
    #[error("invalid checksum digest format")]
    Format,
    /// The number of characters doesn't fit the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// Neither sha256 nor sha512.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

impl Digest {
    /// The sha256 digest of these bytes.
    pub fn sha256(bytes: &[u8]) -> Digest {
        Digest::from_sha256(Sha256::digest(bytes).into())
    }

    /// The digest that an already computed sha256 sum stands for.
    pub fn from_sha256(sum: [u8; 32]) -> Digest {
        Digest(format!("sha256:{}", hex::encode(sum)).into())
    }

    /// The digest that an already computed sha512 sum stands for.
    pub fn from_sha512(sum: [u8; 64]) -> Digest {
        Digest(format!("sha512:{}", hex::encode(sum)).into())
    }

    /// A sha256 digest from its 64 hexadecimal characters.
    pub fn from_hex(hex: &str) -> Result<Digest, DigestError> {
        format!("sha256:{hex}").parse()
    }

    /// The image's id that a name is, whatever else is called so: a whole digest, or the 64 hexadecimal characters of one.
    pub fn of_id(name: &str) -> Option<Digest> {
        name.parse().or_else(|_| Digest::from_hex(name)).ok()
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        &self.0[..6]
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// The first twelve hexadecimal characters, as lists show them.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether these bytes are what the digest names.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match self.algorithm() {
            "sha256" => hex::encode(Sha256::digest(bytes)) == self.hex(),
            _ => hex::encode(Sha512::digest(bytes)) == self.hex(),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(DigestError::Algorithm),
        };
        if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Format);
        }
        if hex.len() != length {
            return Err(DigestError::Length);
        }
        Ok(Digest(text.into()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format_args!("{error}: {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_bytes() {
        let digest = Digest::sha256(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!((digest.algorithm(), digest.short()), ("sha256", "e3b0c44298fc"));
        assert!(digest.matches(b"") && !digest.matches(b"x"));
        assert_eq!(Digest::from_hex(digest.hex()), Ok(digest));
    }

    #[test]
    fn ids_are_whole_digests() {
        let digest = Digest::sha256(b"");
        for text in [digest.as_str(), digest.hex()] {
            assert_eq!(Digest::of_id(text), Some(digest.clone()));
        }
        for text in ["", "app", "app:1", digest.short(), "sha256:e3b0c44298fc", &format!("app@{digest}")] {
            assert_eq!(Digest::of_id(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_everything_that_is_no_digest() {
        let upper = EMPTY.replace('e', "E");
        let long = format!("{EMPTY}0");
        for (text, error) in [
            ("", DigestError::Format),
            ("sha256", DigestError::Format),
            ("sha256:", DigestError::Length),
            (&upper, DigestError::Format),
            (&long, DigestError::Length),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", DigestError::Algorithm),
            ("sha256:../../../../../../../../../../../../../../../../../../../../etc/p", DigestError::Format),
            ("sha256:\0", DigestError::Format),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn is_a_string_in_json() {
        let digest: Digest = serde_json::from_str(&format!("{EMPTY:?}")).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("{EMPTY:?}"));
        assert!(serde_json::from_str::<Digest>("\"sha256:../x\"").is_err());
    }
}
