//! A signature as it travels between programs: a payload with its signature, or a bundle that has both in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::bundle::verify_bundle;
use crate::payload::{Claim, verify_payload};
use crate::public::PublicKey;

/// A signature whose owner is not known yet.
#[derive(Debug, Clone, Copy)]
pub enum Statement<'a> {
    /// What is signed and the signature of that, both in base64.
    Payload { payload: &'a str, signature: &'a str },
    /// Sigstore's bundle, a JSON document.
    Bundle(&'a str),
}

impl Statement<'_> {
    /// What it claims, if this key's owner has signed it.
    pub fn claim(self, key: &PublicKey) -> Option<Claim> {
        match self {
            Statement::Bundle(bundle) => verify_bundle(key, bundle.as_bytes()).ok(),
            Statement::Payload { payload, signature } => {
                let (payload, signature) = (STANDARD.decode(payload).ok()?, STANDARD.decode(signature).ok()?);
                verify_payload(key, &payload, &signature).ok()
            }
        }
    }
}
