//! Simple signing: what is signed of an image, as `containers-signature(5)` and cosign's specification have it.

use std::collections::BTreeMap;

use oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::public::PublicKey;

/// The media type of a signed payload, a layer of the artifact that holds an image's signatures.
pub const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of such a layer that holds the signature in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

const TYPE: &str = "cosign container image signature";

/// The tag under which the signatures of a manifest are found, in its own repository.
pub fn signature_tag(manifest: &Digest) -> String {
    format!("{}.sig", manifest.to_string().replace(':', "-"))
}

#[derive(Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    optional: Option<BTreeMap<String, Value>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

/// What a signature says.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The name that the signer knew the image by; a repository alone if cosign wrote it, none in a bundle.
    pub reference: Option<String>,
    /// The signed manifest or index.
    pub digest: Digest,
    /// What else the signer has noted.
    pub annotations: BTreeMap<String, Value>,
}

/// Why a payload says nothing.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPayload {
    /// The key's owner has not signed it.
    #[error("it is not signed by this key")]
    Signature,
    /// It is no claim of an image.
    #[error("what is signed is no claim about an image")]
    Document(#[source] serde_json::Error),
    /// It claims something else.
    #[error("what is signed is of type {0:?}")]
    Type(String),
}

/// The bytes to sign of an image.
pub fn payload(
    reference: &str,
    digest: &Digest,
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<u8>, serde_json::Error> {
    let optional = annotations.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    let optional: BTreeMap<String, Value> = optional.collect();
    serde_json::to_vec(&Payload {
        critical: Critical {
            identity: Identity { reference: reference.to_owned() },
            image: Image { digest: digest.clone() },
            kind: TYPE.to_owned(),
        },
        optional: (!optional.is_empty()).then_some(optional),
    })
}

/// What a payload claims, if the key's owner has signed it. Nothing is read of it before.
pub fn verify_payload(key: &PublicKey, payload: &[u8], signature: &[u8]) -> Result<Claim, InvalidPayload> {
    if !key.verifies(payload, signature) {
        return Err(InvalidPayload::Signature);
    }
    let payload: Payload = serde_json::from_slice(payload).map_err(InvalidPayload::Document)?;
    let Critical { identity, image, kind } = payload.critical;
    if kind != TYPE {
        return Err(InvalidPayload::Type(kind));
    }
    Ok(Claim {
        reference: Some(identity.reference),
        digest: image.digest,
        annotations: payload.optional.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;

    #[test]
    fn what_is_signed_can_be_read_back() {
        let key = PrivateKey::generate().unwrap();
        let digest = Digest::sha256(b"manifest");
        let notes = BTreeMap::from([("by".to_owned(), "ci".to_owned())]);
        let bytes = payload("registry.test/app:1", &digest, &notes).unwrap();
        let signature = key.sign(&bytes).unwrap();
        let claim = verify_payload(&key.public(), &bytes, &signature).unwrap();
        assert_eq!(claim.reference.as_deref(), Some("registry.test/app:1"));
        assert_eq!((claim.digest, &claim.annotations["by"]), (digest, &Value::from("ci")));

        let other = PrivateKey::generate().unwrap().public();
        assert!(matches!(verify_payload(&other, &bytes, &signature), Err(InvalidPayload::Signature)));
        let mut changed = bytes.clone();
        changed[60] ^= 1;
        assert!(verify_payload(&key.public(), &changed, &signature).is_err());
    }

    #[test]
    fn a_signed_something_else_is_no_claim() {
        let key = PrivateKey::generate().unwrap();
        for text in [
            "{}",
            "[]",
            "{\"critical\":{\"identity\":{\"docker-reference\":\"a\"},\"image\":{\"docker-manifest-digest\":\"x\"},\"type\":\"cosign container image signature\"}}",
            "{\"critical\":{\"identity\":{\"docker-reference\":\"a\"},\"image\":{\"docker-manifest-digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"},\"type\":\"atomic container signature\"}}",
        ] {
            let signature = key.sign(text.as_bytes()).unwrap();
            let claim = verify_payload(&key.public(), text.as_bytes(), &signature);
            assert!(claim.is_err(), "{text}");
        }
    }

    #[test]
    fn signatures_have_a_tag() {
        let tag = signature_tag(&Digest::sha256(b""));
        assert_eq!(tag, "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig");
    }
}
