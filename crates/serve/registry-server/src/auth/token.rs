//! Tokens: JSON web tokens (RFC 7519) that we sign with a key of our own (Ed25519, RFC 8037) and nobody else reads.
//!
//! There is one header, so it is compared and not interpreted: no algorithm to choose, no key to bring along (CVE-2025-24976).

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{Action, Error};
use crate::name::Name;

/// Whom tokens are for.
pub(super) const SERVICE: &str = "dhow-registry";
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;
/// The longest token that is looked at.
const TOKEN_MAX: usize = 32 << 10;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Use {
    /// Requests.
    Access,
    /// Further tokens.
    Refresh,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    pub(super) iss: String,
    /// The user; empty is nobody in particular.
    pub(super) sub: String,
    pub(super) aud: String,
    /// Seconds since 1970.
    pub(super) exp: u64,
    pub(super) nbf: u64,
    pub(super) iat: u64,
    pub(super) jti: String,
    #[serde(rename = "use")]
    pub(super) purpose: Use,
    pub(super) access: Vec<Access>,
    /// Of a refresh token: what changes with the user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
}

/// What may be done to one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) actions: Vec<String>,
}

impl Claims {
    pub(super) fn new(user: &str, purpose: Use, access: Vec<Access>, life: Duration) -> Claims {
        let now = now();
        Claims {
            iss: SERVICE.to_owned(),
            sub: user.to_owned(),
            aud: SERVICE.to_owned(),
            exp: now + life.as_secs(),
            // Clocks differ.
            nbf: now.saturating_sub(10),
            iat: now,
            jti: uuid::Uuid::new_v4().to_string(),
            purpose,
            access,
            password: None,
        }
    }

    pub(super) fn grants(&self, action: Action, name: &Name) -> bool {
        self.access.iter().any(|access| {
            access.kind == "repository"
                && access.name == name.as_str()
                && access.actions.iter().any(|granted| granted == action.as_str())
        })
    }

    pub(super) fn grants_catalog(&self) -> bool {
        self.access.iter().any(|access| access.kind == "registry" && access.name == "catalog")
    }
}

/// Signs tokens, and knows its own.
pub(super) struct Signer {
    key: Ed25519KeyPair,
}

impl Signer {
    /// The key of this file, which is made where there is none.
    pub(super) fn open(path: &Path) -> Result<Signer, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let document = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(failed)?,
            read => read.map_err(failed)?,
        };
        let key = Ed25519KeyPair::from_pkcs8(&document);
        Ok(Signer { key: key.map_err(|_| Error::Key { path: path.to_owned() })? })
    }

    pub(super) fn sign(&self, claims: &Claims) -> serde_json::Result<String> {
        let claims = serde_json::to_vec(claims)?;
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(text.as_bytes());
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says that is ours, for this purpose and for now.
    pub(super) fn verify(&self, token: &str, purpose: Use) -> Option<Claims> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let (text, signature) = token.rsplit_once('.')?;
        let (header, claims) = text.split_once('.')?;
        if header != URL_SAFE_NO_PAD.encode(HEADER) {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ED25519, self.key.public_key());
        public.verify(text.as_bytes(), &signature).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let ours = claims.iss == SERVICE && claims.aud == SERVICE && claims.purpose == purpose;
        (ours && claims.nbf <= now() && now() < claims.exp).then_some(claims)
    }
}

/// Nobody else may read it; two servers that start at once use the same one.
fn make(path: &Path) -> io::Result<Vec<u8>> {
    let unusable = |_| io::Error::other("no random numbers");
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(unusable)?;
    let scratch = path.with_extension(format!("{:016x}", fastrand::u64(..)));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
    let written = file.write_all(document.as_ref()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| std::fs::hard_link(&scratch, path));
    let _ = std::fs::remove_file(&scratch);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::read(path),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> (Signer, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Signer::open(&dir.path().join("token.key")).unwrap(), dir)
    }

    fn claims() -> Claims {
        let access = Access { kind: "repository".into(), name: "a/b".into(), actions: vec!["pull".into()] };
        Claims::new("ann", Use::Access, vec![access], Duration::from_secs(60))
    }

    #[test]
    fn our_tokens_are_ours() {
        let (signer, dir) = signer();
        let token = signer.sign(&claims()).unwrap();
        let found = signer.verify(&token, Use::Access).unwrap();
        assert_eq!(found.sub, "ann");
        let (name, other): (Name, Name) = ("a/b".parse().unwrap(), "a/c".parse().unwrap());
        assert!(found.grants(Action::Pull, &name) && !found.grants(Action::Push, &name));
        assert!(!found.grants(Action::Pull, &other) && !found.grants_catalog());
        assert!(signer.verify(&token, Use::Refresh).is_none(), "another purpose");
        let again = Signer::open(&dir.path().join("token.key")).unwrap();
        assert!(again.verify(&token, Use::Access).is_some(), "the key stays");
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(dir.path().join("token.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn other_tokens_are_not() {
        let (signer, _dir) = signer();
        let (stranger, _other) = self::signer();
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).unwrap());
        let token = signer.sign(&claims()).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let key = URL_SAFE_NO_PAD.encode(stranger.key.public_key());
        for header in [
            r#"{"alg":"none","typ":"JWT"}"#.to_owned(),
            r#"{"alg":"HS256","typ":"JWT"}"#.to_owned(),
            r#"{"typ":"JWT","alg":"EdDSA"}"#.to_owned(),
            format!(r#"{{"alg":"EdDSA","typ":"JWT","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{key}"}}}}"#),
            r#"{"alg":"EdDSA","typ":"JWT","kid":"../../etc/passwd"}"#.to_owned(),
        ] {
            let text = format!("{}.{body}", URL_SAFE_NO_PAD.encode(&header));
            let signed = URL_SAFE_NO_PAD.encode(stranger.key.sign(text.as_bytes()));
            for signature in ["", signature, &signed] {
                assert!(signer.verify(&format!("{text}.{signature}"), Use::Access).is_none(), "{header}");
            }
        }
        assert!(signer.verify(&stranger.sign(&claims()).unwrap(), Use::Access).is_none(), "another key");
        for token in ["", ".", "..", "a.b.c", text, &format!("{text}."), &"x".repeat(100_000)] {
            assert!(signer.verify(token, Use::Access).is_none());
        }
        let late = Claims { exp: now(), ..claims() };
        let early = Claims { nbf: now() + 60, ..claims() };
        let foreign = Claims { aud: "other".into(), ..claims() };
        for claims in [late, early, foreign] {
            assert!(signer.verify(&signer.sign(&claims).unwrap(), Use::Access).is_none());
        }
    }
}
