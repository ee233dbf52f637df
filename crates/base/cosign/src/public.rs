//! Keys that verify.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use spki::der::asn1::{AnyRef, BitStringRef};
use spki::der::{Decode as _, Encode as _};
use spki::{AlgorithmIdentifier, ObjectIdentifier, SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};

use crate::private::InvalidKey;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl Algorithm {
    /// How signatures may have been made. Whoever signs with P-384 hashes with either.
    fn verifiers(self) -> Vec<&'static dyn VerificationAlgorithm> {
        match self {
            Algorithm::P256 => vec![&signature::ECDSA_P256_SHA256_ASN1],
            Algorithm::P384 => vec![&signature::ECDSA_P384_SHA384_ASN1, &signature::ECDSA_P384_SHA256_ASN1],
            Algorithm::Ed25519 => vec![&signature::ED25519],
            Algorithm::Rsa => vec![&signature::RSA_PKCS1_2048_8192_SHA256],
        }
    }
}

/// A public key: ECDSA over P-256 or P-384, Ed25519, or RSA of at least 2048 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl PublicKey {
    pub(crate) fn new(algorithm: Algorithm, bytes: Vec<u8>) -> PublicKey {
        PublicKey { algorithm, bytes }
    }

    /// Reads a PEM block `PUBLIC KEY` (RFC 5280, SubjectPublicKeyInfo).
    pub fn from_pem(pem: &[u8]) -> Result<PublicKey, InvalidKey> {
        let (label, der) =
            pem_rfc7468::decode_vec(trimmed(pem)).map_err(|e| InvalidKey::Pem(e.to_string()))?;
        if label != "PUBLIC KEY" {
            return Err(InvalidKey::Label { found: label.to_owned(), wanted: "PUBLIC KEY" });
        }
        let info =
            SubjectPublicKeyInfoRef::from_der(&der).map_err(|e| InvalidKey::Structure(e.to_string()))?;
        let curve =
            info.algorithm.parameters.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
        let algorithm = match (info.algorithm.oid, curve) {
            (EC, Some(P256)) => Algorithm::P256,
            (EC, Some(P384)) => Algorithm::P384,
            (ED25519, _) => Algorithm::Ed25519,
            (RSA, _) => Algorithm::Rsa,
            (oid, curve) => {
                let curve = curve.map(|curve| format!(" {curve}")).unwrap_or_default();
                return Err(InvalidKey::Algorithm(format!("{oid}{curve}")));
            }
        };
        let bytes = info.subject_public_key.as_bytes();
        let bytes =
            bytes.ok_or_else(|| InvalidKey::Structure("the key is no whole number of bytes".to_owned()))?;
        Ok(PublicKey { algorithm, bytes: bytes.to_vec() })
    }

    /// The PEM block that [`PublicKey::from_pem`] reads.
    pub fn to_pem(&self) -> Result<String, InvalidKey> {
        let structure = |e: spki::der::Error| InvalidKey::Structure(e.to_string());
        let (oid, parameters) = match self.algorithm {
            Algorithm::P256 => (EC, Some(AnyRef::from(&P256))),
            Algorithm::P384 => (EC, Some(AnyRef::from(&P384))),
            Algorithm::Ed25519 => (ED25519, None),
            Algorithm::Rsa => (RSA, Some(AnyRef::NULL)),
        };
        let subject_public_key = BitStringRef::from_bytes(&self.bytes).map_err(structure)?;
        let info =
            SubjectPublicKeyInfo { algorithm: AlgorithmIdentifier { oid, parameters }, subject_public_key };
        let der = info.to_der().map_err(structure)?;
        pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, &der)
            .map_err(|e| InvalidKey::Pem(e.to_string()))
    }

    /// Whether the key's owner has signed this message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let mut ways = self.algorithm.verifiers().into_iter();
        ways.any(|way| UnparsedPublicKey::new(way, &self.bytes).verify(message, signature).is_ok())
    }

    /// A short name for messages: the digest of the key's bytes.
    pub fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.bytes);
        digest.as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Without what editors leave around a block.
pub(crate) fn trimmed(pem: &[u8]) -> &[u8] {
    pem.trim_ascii()
}
