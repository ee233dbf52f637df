//! Sigstore's bundle 0.3: a DSSE envelope around an in-toto statement whose subject is the image.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Digest;
use serde::Deserialize;
use serde_json::Value;

use crate::payload::Claim;
use crate::public::PublicKey;

/// The type of the artifact that holds a bundle, and what its layer is.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

const STATEMENT: &str = "application/vnd.in-toto+json";
/// The predicate of a signature; others attest something else than that the image is the signer's.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, Value>>,
}

/// Why a bundle says nothing.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBundle {
    /// It is no bundle with an envelope.
    #[error("it is no bundle of a signed statement")]
    Document(#[source] serde_json::Error),
    /// Not base64.
    #[error("it is damaged")]
    Base64(#[source] base64::DecodeError),
    /// The key's owner has not signed it.
    #[error("it is not signed by this key")]
    Signature,
    /// It attests something else.
    #[error("it is a statement of type {0:?}, not a signature")]
    Type(String),
    /// It names no image.
    #[error("it names no image by a digest")]
    Subject,
}

/// DSSE's pre-authentication encoding: what is signed.
fn signed_bytes(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// What a bundle claims, if the key's owner has signed it. Of the statement, nothing is read before.
pub fn verify_bundle(key: &PublicKey, bundle: &[u8]) -> Result<Claim, InvalidBundle> {
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(InvalidBundle::Document)?;
    let Envelope { payload, payload_type, signatures } = bundle.dsse_envelope;
    let payload = STANDARD.decode(payload).map_err(InvalidBundle::Base64)?;
    let signed = signed_bytes(&payload_type, &payload);
    let good = |signature: &Signature| {
        STANDARD.decode(&signature.sig).is_ok_and(|signature| key.verifies(&signed, &signature))
    };
    if !signatures.iter().any(good) {
        return Err(InvalidBundle::Signature);
    }
    if payload_type != STATEMENT {
        return Err(InvalidBundle::Type(payload_type));
    }
    let statement: Statement = serde_json::from_slice(&payload).map_err(InvalidBundle::Document)?;
    if statement.predicate_type != SIGNED {
        return Err(InvalidBundle::Type(statement.predicate_type));
    }
    let [subject] = statement.subject.as_slice() else { return Err(InvalidBundle::Subject) };
    let hex = subject.digest.get("sha256").ok_or(InvalidBundle::Subject)?;
    let digest = format!("sha256:{hex}").parse::<Digest>().map_err(|_| InvalidBundle::Subject)?;
    Ok(Claim { reference: None, digest, annotations: subject.annotations.clone().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;

    fn bundle(key: &PrivateKey, kind: &str, statement: &Value) -> Vec<u8> {
        let payload = serde_json::to_vec(statement).unwrap();
        let signature = key.sign(&signed_bytes(kind, &payload)).unwrap();
        let envelope = serde_json::json!({
            "payload": STANDARD.encode(&payload), "payloadType": kind,
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        });
        serde_json::to_vec(&serde_json::json!({ "mediaType": BUNDLE_TYPE, "dsseEnvelope": envelope }))
            .unwrap()
    }

    #[test]
    fn only_a_signature_of_one_image_is_one() {
        let key = PrivateKey::generate().unwrap();
        let digest = Digest::sha256(b"manifest");
        let hex = digest.to_string().replace("sha256:", "");
        let statement = |predicate: &str, subjects: Value| serde_json::json!({ "_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": predicate });
        let subject = serde_json::json!([{ "digest": { "sha256": hex } }]);
        let good = bundle(&key, STATEMENT, &statement(SIGNED, subject.clone()));
        assert_eq!(verify_bundle(&key.public(), &good).unwrap().digest, digest);
        let other = PrivateKey::generate().unwrap();
        assert!(matches!(verify_bundle(&other.public(), &good), Err(InvalidBundle::Signature)));
        for (kind, document) in [
            (STATEMENT, statement("https://slsa.dev/provenance/v1", subject.clone())),
            ("text/plain", statement(SIGNED, subject)),
            (STATEMENT, statement(SIGNED, serde_json::json!([]))),
            (STATEMENT, statement(SIGNED, serde_json::json!([{ "digest": { "sha256": "zz" } }]))),
            (STATEMENT, serde_json::json!({})),
        ] {
            assert!(
                verify_bundle(&key.public(), &bundle(&key, kind, &document)).is_err(),
                "{kind} {document}"
            );
        }
        assert!(verify_bundle(&key.public(), b"{}").is_err());
    }
}
