//! Earlier builds: what they did and why. A build is named by its id, the beginning of it, or `^1` for the one before the
//! newest; without a name the newest is meant.

pub mod diff;
mod filter;
pub mod inspect;
pub mod logs;
pub mod ls;
pub mod rm;

use api::build::BuildRecord;
use jiff::Timestamp;

/// How long a build took, or has taken until now.
fn took(record: &BuildRecord) -> String {
    let time = |text: &str| api::time::parse(text);
    let Some(begun) = time(&record.started_at) else { return String::new() };
    let ended = time(&record.completed_at);
    // Nobody knows when a killed build ended.
    let ended = if record.status == "running" { Some(Timestamp::now()) } else { ended };
    ended.map_or_else(String::new, |ended| seconds((ended.as_millisecond() - begun.as_millisecond()).max(0)))
}

fn seconds(millis: i64) -> String {
    format!("{}.{}s", millis / 1000, millis % 1000 / 100)
}
