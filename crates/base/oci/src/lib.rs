//! The OCI vocabulary: digests, references, platforms; image, runtime and distribution documents.
//!
//! Plain data and pure functions. Documents have public fields and the specification's names. Bytes that
//! came from elsewhere are hashed as they came and never serialised again: a digest belongs to bytes, not
//! to what they mean. Nothing here does I/O, and nothing here panics on hostile input.

pub mod address;
pub mod annotation;
pub mod cdi;
mod chain;
mod digest;
pub mod features;
pub mod image;
pub mod lenient;
pub mod media_types;
mod nullable;
pub mod path;
mod platform;
mod reference;
pub mod runtime;
pub mod signal;
pub mod units;
pub mod user;

pub use chain::ChainId;
pub use digest::{Digest, DigestError, Hasher};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
