//! Who the user is to a registry: the `X-Registry-Auth` header of the Engine API.

use crate::keeper::Keeper;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::fmt;

/// Either a name and a password, or a token of one of two kinds.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase", default)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// `name:password` in base64, as configuration files have it.
    pub auth: String,
    /// Exchanged at the token server for an access token.
    pub identitytoken: String,
    /// Sent to the registry as it is.
    pub registrytoken: String,
    /// The registry that they are for.
    pub serveraddress: String,
    /// Somebody who knows all this and does not say it.
    #[serde(skip)]
    pub keeper: Option<Keeper>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidCredentials {
    #[error("credentials are not base64")]
    Base64(#[source] base64::DecodeError),
    #[error("credentials are not JSON")]
    Json(#[source] serde_json::Error),
}

impl Credentials {
    /// Reads the header. Clients differ in alphabet and padding, and send empty ones for nobody.
    pub fn from_header(header: &str) -> Result<Option<Credentials>, InvalidCredentials> {
        if header.is_empty() {
            return Ok(None);
        }
        let json = decode(header).map_err(InvalidCredentials::Base64)?;
        let credentials: Option<Credentials> =
            serde_json::from_slice(&json).map_err(InvalidCredentials::Json)?;
        Ok(credentials.filter(Credentials::is_somebody))
    }

    /// Whether there is anything that a registry could check.
    pub fn is_somebody(&self) -> bool {
        let said = [&self.username, &self.auth, &self.identitytoken, &self.registrytoken];
        said.iter().any(|field| !field.is_empty()) || self.keeper.is_some()
    }

    /// Name and password, if need be of who keeps them.
    pub(crate) async fn told(&self) -> Option<(String, String)> {
        match &self.keeper {
            Some(keeper) => (keeper.tell)().await.and_then(|told| told.basic()),
            None => self.basic(),
        }
    }

    /// Name and password, wherever they stand.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        if !self.username.is_empty() {
            return Some((self.username.clone(), self.password.clone()));
        }
        let decoded = String::from_utf8(decode(&self.auth).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        Some((name.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

/// Secrets stay out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = text.trim();
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD as PADDED, URL_SAFE_NO_PAD};

    #[test]
    fn headers_of_all_clients_are_read() {
        let json =
            r#"{"username":"ann","password":"s3cret??>>","serveraddress":"https://index.docker.io/v1/"}"#;
        for header in [PADDED.encode(json), URL_SAFE_NO_PAD.encode(json)] {
            let credentials = Credentials::from_header(&header).unwrap().unwrap();
            assert_eq!(credentials.basic(), Some(("ann".into(), "s3cret??>>".into())));
            assert!(!format!("{credentials:?}").contains("s3cret"));
        }
    }

    #[test]
    fn nobody_is_nobody() {
        for json in ["{}", "null", r#"{"username":"","password":""}"#] {
            assert_eq!(Credentials::from_header(&PADDED.encode(json)).unwrap(), None);
        }
        assert_eq!(Credentials::from_header("").unwrap(), None);
        assert!(Credentials::from_header("e30").unwrap().is_none());
        assert!(Credentials::from_header("%%%").is_err());
        assert!(Credentials::from_header(&PADDED.encode("[]1")).is_err());
    }

    #[test]
    fn the_auth_field_counts() {
        let credentials = Credentials { auth: PADDED.encode("ann:pa:ss"), ..Credentials::default() };
        assert_eq!(credentials.basic(), Some(("ann".into(), "pa:ss".into())));
    }
}
