//! Signatures of images as sigstore's `cosign` makes them with key pairs: keys in its files, what is signed of an image, and
//! the policy that says which images must be signed by whom.
//!
//! Nothing here reads files or talks to registries. Formats: cosign's `SIGNATURE_SPEC.md` (simple signing), sigstore's bundle 0.3
//! with a DSSE envelope around an in-toto statement, and `containers-policy.json(5)`. Without key pairs (short-lived
//! certificates and transparency logs) nothing is verified here: such a signature is not ours, and counts as none.

mod bundle;
mod payload;
mod policy;
mod private;
mod public;
mod statement;

pub use bundle::{BUNDLE_TYPE, InvalidBundle, verify_bundle};
pub use payload::{
    Claim, InvalidPayload, PAYLOAD_TYPE, SIGNATURE_ANNOTATION, payload, signature_tag, verify_payload,
};
pub use policy::{Identity, InvalidPolicy, Policy, Requirement, Signers};
pub use private::{InvalidKey, PrivateKey};
pub use public::PublicKey;
pub use statement::Statement;
