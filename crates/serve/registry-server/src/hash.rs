//! Digests of content as it passes.

use oci::{Digest, Hasher};

use crate::storage::Algorithm;

/// The digest of what has passed so far.
#[derive(Clone)]
pub(crate) struct Hash {
    algorithm: Algorithm,
    hasher: Hasher,
}

impl Hash {
    pub(crate) fn new(algorithm: Algorithm) -> Hash {
        let hasher = match algorithm {
            Algorithm::Sha256 => Hasher::sha256(),
            Algorithm::Sha512 => Hasher::sha512(),
        };
        Hash { algorithm, hasher }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(crate) fn digest(self) -> Digest {
        self.hasher.digest()
    }
}
