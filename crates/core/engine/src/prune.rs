//! What the prunes of all nouns share.

use api::filters::Filters;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// The `until` filter: only what was made before it is pruned.
pub fn until(filters: &Filters) -> Result<Option<Timestamp>> {
    let values: Vec<&str> = filters.get("until").collect();
    match values.as_slice() {
        [] => Ok(None),
        [text] => api::time::parse_instant(text, Timestamp::now(), &TimeZone::UTC)
            .map(Some)
            .map_err(|e| Error::invalid(e.to_string())),
        _ => Err(Error::invalid("more than one until filter specified")),
    }
}
