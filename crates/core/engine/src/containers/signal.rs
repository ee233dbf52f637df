//! Signals that a client names.

use crate::error::{Error, Result};

/// A signal by name or number.
pub fn parse(text: &str) -> Result<i32> {
    oci::signal::number(text).ok_or_else(|| Error::invalid(format!("invalid signal: {text}")))
}
