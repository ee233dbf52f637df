//! `manifest`: lists of manifests that are written down here, member by member, and then sent to a registry.

pub mod annotate;
pub mod create;
pub mod inspect;
pub mod push;
pub mod rm;

mod entry;
mod lists;

use oci::Reference;

use crate::error::Error;

/// A name with everything that was left out.
fn name(text: &str) -> Result<Reference, Error> {
    Reference::parse(text).map_err(|error| Error::new(error.to_string()))
}
