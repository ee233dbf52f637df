//! Registry credentials in a request: base64url JSON in `X-Registry-Auth` and `X-Registry-Config`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::json::{nullable, zero};

/// Written with padding, as Go's `URLEncoding`; read with or without.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials for one registry.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub username: String,
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub password: String,
    /// `user:password` in base64, as in the client's configuration file.
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub auth: String,
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub email: String,
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub serveraddress: String,
    /// A refresh token for the registry's token service.
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub identitytoken: String,
    /// A bearer token to send as it is.
    #[serde(skip_serializing_if = "zero", deserialize_with = "nullable")]
    pub registrytoken: String,
}

/// Secrets stay out of logs.
impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

/// A header that does not hold a document in base64url.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid header: {0}")]
    Base64(base64::DecodeError),
    #[error("invalid header: {0}")]
    Json(serde_json::Error),
}

/// The value of `X-Registry-Auth`.
pub fn encode(auth: &AuthConfig) -> String {
    encode_json(auth)
}

/// Reads `X-Registry-Auth`; an empty value is no credentials.
pub fn decode(header: &str) -> Result<AuthConfig, Error> {
    decode_json(header)
}

/// The value of `X-Registry-Config`: registry address to credentials.
pub fn encode_all(auths: &BTreeMap<String, AuthConfig>) -> String {
    encode_json(auths)
}

/// Reads `X-Registry-Config`.
pub fn decode_all(header: &str) -> Result<BTreeMap<String, AuthConfig>, Error> {
    decode_json(header)
}

/// A document as a header's value.
pub(crate) fn encode_json(document: &impl Serialize) -> String {
    BASE64URL.encode(serde_json::to_vec(document).unwrap_or_default())
}

/// Reads a document of a header; an empty value is the default.
pub(crate) fn decode_json<T: for<'de> Deserialize<'de> + Default>(header: &str) -> Result<T, Error> {
    if header.is_empty() {
        return Ok(T::default());
    }
    let json = BASE64URL.decode(header).map_err(Error::Base64)?;
    serde_json::from_slice(&json).map_err(Error::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_with_and_without_padding() {
        let auth = AuthConfig { username: "u".into(), password: "p?>".into(), ..AuthConfig::default() };
        let header = encode(&auth);
        assert_eq!(decode(&header).unwrap(), auth);
        assert_eq!(decode(header.trim_end_matches('=')).unwrap(), auth);
        assert_eq!(decode("").unwrap(), AuthConfig::default());
        assert!(decode("{").is_err());
    }

    #[test]
    fn debug_hides_secrets() {
        let auth = AuthConfig { password: "hunter2".into(), ..AuthConfig::default() };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
