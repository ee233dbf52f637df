//! Earlier builds: what they did and why. A build is named by its id, the beginning of it, or `^1` for the one before the
//! newest; without a name the newest is meant.

mod attachment;
pub mod diff;
mod document;
pub mod export;
mod filter;
pub mod inspect;
pub mod logs;
pub mod ls;
pub mod rm;
pub mod trace;

use std::time::Duration;

use api::build::BuildRecord;
use jiff::Timestamp;

/// How long a build took, or has taken until now.
fn took(record: &BuildRecord) -> String {
    let millis = |took: Duration| i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    duration(record).map_or_else(String::new, |took| seconds(millis(took)))
}

fn duration(record: &BuildRecord) -> Option<Duration> {
    let begun = api::time::parse(&record.started_at)?;
    // Nobody knows when a killed build ended.
    let ended = match record.status.as_str() {
        "running" => Timestamp::now(),
        _ => api::time::parse(&record.completed_at)?,
    };
    Some(Duration::try_from(ended.duration_since(begun)).unwrap_or_default())
}

fn seconds(millis: i64) -> String {
    format!("{}.{}s", millis / 1000, millis % 1000 / 100)
}
