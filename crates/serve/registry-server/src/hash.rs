//! Digests of content as it passes.

use oci::Digest;
use sha2::{Digest as _, Sha256, Sha512};

use crate::storage::Algorithm;

/// The digest of what has passed so far.
#[derive(Clone)]
pub(crate) enum Hash {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hash {
    pub(crate) fn new(algorithm: Algorithm) -> Hash {
        match algorithm {
            Algorithm::Sha256 => Hash::Sha256(Sha256::default()),
            Algorithm::Sha512 => Hash::Sha512(Box::default()),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Hash::Sha256(_) => Algorithm::Sha256,
            Hash::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn digest(self) -> Digest {
        match self {
            Hash::Sha256(hash) => Digest::from_sha256(hash.finalize().into()),
            Hash::Sha512(hash) => Digest::from_sha512(hash.finalize().into()),
        }
    }
}
